#!/bin/sh
# In a guest with the debug kernel: run a command, check for leaks, save GCOV's counters.
leaks=/sys/kernel/debug/kmemleak
echo scan >$leaks
echo clear >$leaks
"$@"
status=$?
for module in nlbus_probe nlbus_packet nlbus_gen nlbus; do
	rmmod $module 2>/dev/null
done
# kmemleak reports a leak that is five seconds old and was found twice.
sleep 6
echo scan >$leaks
echo scan >$leaks
if [ -s $leaks ]; then
	cat $leaks
	status=1
fi
rm -rf /run/lab/gcov
cp -r --no-preserve=all "/sys/kernel/debug/gcov$NLBUS_KMOD" /run/lab/gcov
exit $status

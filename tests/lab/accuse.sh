#!/bin/sh
# In the guest with a debug kernel: run a command, then look for leaks and save GCOV's counters.
leaks=/sys/kernel/debug/kmemleak
echo scan >$leaks
echo clear >$leaks
"$@"
status=$?
for module in nlbus_probe nlbus_packet nlbus_gen nlbus; do
	rmmod $module 2>/dev/null
done
# A leak is told when it is five seconds old and was found twice.
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

#!/bin/sh
# Says which network devices come and go:
#   nlbus listen uevent -m SUBSYSTEM=net -m 'ACTION=add|remove' --initial --exec examples/hotplug.sh
# Those that were there already come first (NLBUS_ORIGIN=snapshot). With `-g udev` it runs after udev's rules, which
# may have renamed a device; the default is before them.
set -eu

case "$ACTION" in
    add) what="is there" ;;
    remove) what="is gone" ;;
    *) exit 0 ;;
esac
[ "$NLBUS_ORIGIN" = live ] || what="$what already"
# What was lost before this event, the listener tells with it.
[ -z "${NLBUS_LOST:-}" ] || echo "$NLBUS_LOST events were lost: look for yourself"
echo "$INTERFACE $what (${DEVTYPE:-device} $IFINDEX, $DEVPATH)"

#!/bin/sh
# Prints network devices as they appear and disappear:
#   nlbus listen uevent -m SUBSYSTEM=net -m 'ACTION=add|remove' --initial --exec examples/hotplug.sh
# Existing devices come first (NLBUS_ORIGIN=snapshot). With `-g udev` it runs after udev's rules, which may have
# renamed a device; the default is before them.
set -eu

case "$ACTION" in
    add) what="is there" ;;
    remove) what="is gone" ;;
    *) exit 0 ;;
esac
[ "$NLBUS_ORIGIN" = live ] || what="$what already"
# The listener reports losses with the next event.
[ -z "${NLBUS_LOST:-}" ] || echo "$NLBUS_LOST events were lost: look for yourself"
echo "$INTERFACE $what (${DEVTYPE:-device} $IFINDEX, $DEVPATH)"

"""thermal: thermal zones, their trip points and cooling devices, and how hot it is."""

from nlbus.schema.schema import Attr, Entry, List, Nest, Schema, ignored
from nlbus.schema.types import NAME, S32, U8, U32, Field, pad
from nlbus.sources.genl.families import HEADER, family_source, reports

EVENTS = {
    1: "tz_create", 2: "tz_delete", 3: "tz_disable", 4: "tz_enable", 5: "tz_trip_up", 6: "tz_trip_down",
    7: "tz_trip_change", 8: "tz_trip_add", 9: "tz_trip_delete", 10: "cdev_add", 11: "cdev_delete",
    12: "cdev_state_update", 13: "tz_gov_change", 14: "cpu_capability_change", 15: "threshold_add",
    16: "threshold_delete", 17: "threshold_flush", 18: "threshold_up", 19: "threshold_down",
}  # fmt: skip
NEW, GONE = (1, 8, 10, 15), (2, 9, 11, 16, 17)
TEMPERATURE = "m°C"

ENTRIES: tuple[Entry, ...] = (
    Attr("THERMAL_GENL_ATTR_TZ_ID", 2, U32),
    Attr("THERMAL_GENL_ATTR_TZ_NAME", 10, NAME),
    Attr("THERMAL_GENL_ATTR_TZ_TEMP", 3, S32, unit=TEMPERATURE),
    Attr("THERMAL_GENL_ATTR_TZ_PREV_TEMP", 27, S32, unit=TEMPERATURE),
    Attr("THERMAL_GENL_ATTR_TZ_TRIP_ID", 5, U32),
    Attr(
        "THERMAL_GENL_ATTR_TZ_TRIP_TYPE",
        6,
        U32,
        enum={0: "active", 1: "passive", 2: "hot", 3: "critical"},
    ),
    Attr("THERMAL_GENL_ATTR_TZ_TRIP_TEMP", 7, S32, unit=TEMPERATURE),
    Attr("THERMAL_GENL_ATTR_TZ_TRIP_HYST", 8, S32, unit=TEMPERATURE),
    Attr("THERMAL_GENL_ATTR_TZ_GOV_NAME", 13, NAME),
    Attr("THERMAL_GENL_ATTR_GOV_NAME", 19, NAME),
    Attr("THERMAL_GENL_ATTR_CDEV_ID", 15, U32),
    Attr("THERMAL_GENL_ATTR_CDEV_NAME", 18, NAME),
    Attr("THERMAL_GENL_ATTR_CDEV_CUR_STATE", 16, U32),
    Attr("THERMAL_GENL_ATTR_CDEV_MAX_STATE", 17, U32),
    Attr("THERMAL_GENL_ATTR_THRESHOLD_TEMP", 25, S32, unit=TEMPERATURE),
    Attr("THERMAL_GENL_ATTR_THRESHOLD_DIRECTION", 26, U32, flags={1: "up", 2: "down"}),
    Nest(
        "THERMAL_GENL_ATTR_CPU_CAPABILITY",
        20,
        "THERMAL_GENL_ATTR_",
        (
            List("THERMAL_GENL_ATTR_CPU_CAPABILITY_ID", 21, U32, repeated=True),
            List("THERMAL_GENL_ATTR_CPU_CAPABILITY_PERFORMANCE", 22, U32, repeated=True),
            List("THERMAL_GENL_ATTR_CPU_CAPABILITY_EFFICIENCY", 23, U32, repeated=True),
        ),
        column="-",
    ),
    *ignored("THERMAL_GENL_ATTR_", TZ=1, TZ_TRIP=4, TZ_MODE=9, TZ_CDEV_WEIGHT=11, TZ_GOV=12, CDEV=14,
             THRESHOLD=24),
)  # fmt: skip

SOURCE = family_source(
    "thermal",
    (
        Schema(
            name="sample",
            ops=reports(new=0),
            header=HEADER,
            prefix="THERMAL_GENL_ATTR_",
            entries=(
                Attr("THERMAL_GENL_ATTR_TZ_ID", 2, U32),
                Attr("THERMAL_GENL_ATTR_TZ_TEMP", 3, S32, unit=TEMPERATURE),
            ),
            groups=("sampling",),
            about="temperatures, whenever the kernel reads one",
        ),
        Schema(
            name="event",
            ops=reports(new=NEW, delete=GONE, change=[each for each in EVENTS if each not in (*NEW, *GONE)]),
            header=(Field("event", U8, enum=EVENTS), pad(3)),
            prefix="THERMAL_GENL_ATTR_",
            entries=ENTRIES,
            groups=("event",),
            about="trip points that are crossed; zones, cooling devices, governors that change",
        ),
    ),
    namespaces=("net",),
    option="CONFIG_THERMAL_NETLINK",
    note="a virtual machine mostly has no thermal zone: see /sys/class/thermal",
    example="nlbus listen genl:thermal -t event",
)

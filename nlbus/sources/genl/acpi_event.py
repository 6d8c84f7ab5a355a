"""acpi_event: buttons, lids, batteries and adapters, as ACPI reports them; what acpid listens to."""

from nlbus.schema.schema import Schema, Struct
from nlbus.schema.types import U32, Field, pad, text
from nlbus.sources.genl.families import HEADER, family_source, reports

SOURCE = family_source(
    "acpi_event",
    (
        Schema(
            name="event",
            ops=reports(new=1),
            header=HEADER,
            prefix="ACPI_GENL_ATTR_",
            entries=(
                Struct(
                    "ACPI_GENL_ATTR_EVENT",
                    1,
                    (
                        Field("device_class", text(20)),
                        Field("bus_id", text(15)),
                        pad(1),
                        Field("type", U32, display="hex"),
                        Field("data", U32),
                    ),
                    column="-",
                ),
            ),
            groups=("acpi_mc_group",),
            about="ACPI events, as device class, bus, type and data",
        ),
    ),
    namespaces=("net",),
    option="CONFIG_ACPI",
    example="nlbus listen genl:acpi_event",
)

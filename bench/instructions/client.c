/* Callgrind's requests, for Python: counting begins, and ends with a file of its own for what was counted. */
#include <valgrind/callgrind.h>

void begin(void)
{
	CALLGRIND_START_INSTRUMENTATION;
	CALLGRIND_ZERO_STATS;
}

void end(const char *name)
{
	CALLGRIND_DUMP_STATS_AT(name);
	CALLGRIND_STOP_INSTRUMENTATION;
}

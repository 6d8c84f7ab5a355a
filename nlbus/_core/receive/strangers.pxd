"""Users whose datagrams are not believed: the first few of them, each once per reason."""

from libc.stdint cimport uint32_t, uint64_t

cdef enum:
    NOTED = 32                    # more are counted together

cdef enum:                        # why a datagram is not believed
    BELIEVED
    DISTRUSTED                    # its uid is not one of those that are trusted
    KERNELS_PLACE                 # from a process, where only the kernel is believed
    UNSTAMPED                     # nlbus.ko has not stamped it

cdef struct stranger:
    uint32_t portid               # of the first one
    uint32_t uid
    uint32_t reason
    uint64_t datagrams

cdef struct strangers:
    stranger rows[NOTED]
    uint32_t count
    uint64_t others               # datagrams of further ones


cdef inline void strangers_note(strangers *s, uint32_t portid, uint32_t uid, uint32_t reason) noexcept nogil:
    cdef uint32_t i
    for i in range(s.count):
        if s.rows[i].uid == uid and s.rows[i].reason == reason:
            s.rows[i].datagrams += 1
            return
    if s.count == NOTED:
        s.others += 1
        return
    s.rows[s.count].portid = portid
    s.rows[s.count].uid = uid
    s.rows[s.count].reason = reason
    s.rows[s.count].datagrams = 1
    s.count += 1

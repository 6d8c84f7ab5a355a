"""From records to sendmmsg: pending datagrams, streams, multicast."""

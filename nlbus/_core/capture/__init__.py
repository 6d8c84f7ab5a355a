"""Capture files: blocks of pcapng and pcap, read and written."""

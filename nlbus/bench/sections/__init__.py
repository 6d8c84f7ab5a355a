"""The sections of a run that measure nlbus itself: latency, growth, where the time goes."""

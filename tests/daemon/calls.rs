//! Calls of real peers through the whole daemon.

//! Bytes to messages and back: pure functions and small state machines, used
//! by the daemon, the clients and the load generator alike.

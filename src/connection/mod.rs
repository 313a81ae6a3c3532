//! Sockets: nothing else touches the network.

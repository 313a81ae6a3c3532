//! Which reply belongs to which command in flight.

//! Feeds `checks::list`, which says what must hold.

#![no_main]

#[path = "../checks/mod.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::list::check(data));

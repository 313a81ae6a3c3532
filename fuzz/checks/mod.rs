//! What must hold whatever the bytes are: one function a parser, which panics where it does not.
//!
//! Used twice: by the fuzz targets, which make new inputs, and by `tests/fuzz.rs`, which gives them the inputs that are kept
//! under `fuzz/corpus`, so that neither the parsers nor the checks can rot between two runs of a fuzzer.
#![allow(dead_code, reason = "each fuzz target uses its own part of this")]

pub(crate) mod feat;
pub(crate) mod journal;
pub(crate) mod list;
pub(crate) mod mlsd;
pub(crate) mod netrc;
pub(crate) mod passive;
pub(crate) mod record;
pub(crate) mod reply;
pub(crate) mod url;

/// The ways to cut `data` into portions that are tried: in two at each byte (in longer inputs, at some), and into small ones.
pub(crate) fn each_cut(data: &[u8], mut with: impl FnMut(&[&[u8]])) {
    let step = (data.len() / 16).max(1);
    for at in (0..=data.len()).step_by(step) {
        let (before, behind) = data.split_at(at);
        with(&[before, behind]);
    }
    for len in [1, 7, 100] {
        let portions: Vec<&[u8]> = data.chunks(len).collect();
        with(&portions);
    }
}

/// Whether a terminal could take something in `text` for a command.
pub(crate) fn is_fit_for_a_terminal(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

/// Whether `part` stands somewhere in `whole`.
pub(crate) fn contains(whole: &[u8], part: &[u8]) -> bool {
    part.is_empty() || whole.windows(part.len()).any(|window| window == part)
}

//! To come: see the files beside this one.

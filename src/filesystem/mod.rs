//! Files, directories, open handles; nothing of fuser here.

//! A record of the journal: what decodes is what was encoded, byte for byte; what is cut or followed by others is neither.

use ftpfs::journal::fuzzing::reencode;

pub(crate) fn check(data: &[u8]) {
    // As it comes from a disk, and with a checksum that is right.
    for bytes in [data.to_vec(), sealed(data)] {
        let Some((len, encoded)) = reencode(&bytes) else { continue };
        assert!(len <= bytes.len());
        assert_eq!(encoded.len(), len, "another length");
        assert_eq!(encoded, bytes[..len], "other bytes");
        assert_eq!(reencode(&bytes[..len - 1]), None, "a record that is cut is none");
        let followed = [&bytes[..len], b"more"].concat();
        assert_eq!(reencode(&followed), Some((len, encoded)));
    }
}

/// `data` as the sequence number and the payload of a record.
pub(super) fn sealed(data: &[u8]) -> Vec<u8> {
    let payload_len = u32::try_from(data.len().saturating_sub(8)).expect("a short input");
    let checked = [&payload_len.to_le_bytes()[..], data].concat();
    [&crc32c::crc32c(&checked).to_le_bytes()[..], &checked].concat()
}

//! Pkt-lines: git's own framing.

use std::io::{self, Read, Write};

/// Git's own limit for one pkt-line with its four digits.
const PACKET_BYTES_MAX: usize = 65_520;

/// One pkt-line with its length in front.
pub fn framed(payload: &[u8]) -> Vec<u8> {
    assert!(payload.len() + 4 <= PACKET_BYTES_MAX, "a pkt-line holds at most {} bytes", PACKET_BYTES_MAX - 4);
    let mut out = format!("{:04x}", payload.len() + 4).into_bytes();
    out.extend_from_slice(payload);
    out
}

pub const FLUSH: &[u8] = b"0000";

/// The payload of the next pkt-line without its line end; `None` is a flush.
pub fn read(input: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut digits = [0; 4];
    input.read_exact(&mut digits)?;
    let length = std::str::from_utf8(&digits).ok().and_then(|text| usize::from_str_radix(text, 16).ok());
    match length {
        Some(0) => Ok(None),
        Some(length @ 4..=PACKET_BYTES_MAX) => {
            let mut payload = vec![0; length - 4];
            input.read_exact(&mut payload)?;
            if payload.last() == Some(&b'\n') {
                payload.pop();
            }
            Ok(Some(payload))
        }
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "not a pkt-line")),
    }
}

pub fn write(output: &mut impl Write, payload: &[u8]) -> io::Result<()> {
    output.write_all(&framed(payload))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_back_and_a_foreign_length_is_refused() {
        let mut bytes = framed(b"version=1\0push-options\n");
        bytes.extend_from_slice(FLUSH);
        let mut input = bytes.as_slice();
        assert_eq!(read(&mut input).unwrap().unwrap(), b"version=1\0push-options");
        assert_eq!(read(&mut input).unwrap(), None);
        for bad in [&b"0003"[..], b"zzzz", b"fffff", b"00"] {
            assert!(read(&mut &bad[..]).is_err(), "{bad:?}");
        }
    }
}

//! DNS messages, as far as a forwarder needs them: one question in, addresses or a refusal out.

use std::net::IpAddr;

/// Longest name in text form, by the protocol.
const NAME_BYTES_MAX: usize = 253;
const HEADER_BYTES: usize = 12;
/// Seconds that a container may remember a link: addresses change with a deployment.
const LINK_TTL_SECONDS: u32 = 5;
const CLASS_IN: u16 = 1;
pub(crate) const TYPE_A: u16 = 1;
pub(crate) const TYPE_AAAA: u16 = 28;

/// The codes we answer with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    Fine = 0,
    Malformed = 1,
    Failed = 2,
    NoSuchName = 3,
    NotImplemented = 4,
    Refused = 5,
}

/// A query with its one question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    pub id: u16,
    /// Lower case, without the final dot; labels hold printable ASCII except dots.
    pub name: String,
    pub kind: u16,
    /// Where the question ends in the packet.
    end: usize,
}

/// Read a query; the error is the code to answer with, `None` where no answer is due.
pub(crate) fn read_query(packet: &[u8]) -> Result<Question, Option<Code>> {
    let word = |at: usize| packet.get(at..at + 2).map(|b| u16::from_be_bytes([b[0], b[1]]));
    let (Some(id), Some(flags), Some(questions)) = (word(0), word(2), word(4)) else { return Err(None) };
    if packet.len() < HEADER_BYTES || flags & 0x8000 != 0 {
        // Answering answers would let two servers talk for ever.
        return Err(None);
    }
    if (flags >> 11) & 0xf != 0 {
        return Err(Some(Code::NotImplemented));
    }
    if questions != 1 {
        return Err(Some(Code::Malformed));
    }
    let (name, at) = read_name(packet, HEADER_BYTES).ok_or(Some(Code::Malformed))?;
    let (Some(kind), Some(class)) = (word(at), word(at + 2)) else { return Err(Some(Code::Malformed)) };
    if class != CLASS_IN {
        return Err(Some(Code::Refused));
    }
    Ok(Question { id, name, kind, end: at + 4 })
}

/// Labels without compression: a question has nothing to point back to.
fn read_name(packet: &[u8], mut at: usize) -> Option<(String, usize)> {
    let mut name = String::new();
    loop {
        let length = usize::from(*packet.get(at)?);
        at += 1;
        if length == 0 {
            return Some((name, at));
        }
        let label = packet.get(at..at + length).filter(|_| length < 64)?;
        at += length;
        if !name.is_empty() {
            name.push('.');
        }
        if !label.iter().all(|b| b.is_ascii_graphic() && *b != b'.') || name.len() + length > NAME_BYTES_MAX {
            return None;
        }
        name.extend(label.iter().map(|b| char::from(b.to_ascii_lowercase())));
    }
}

/// Our own answer: the addresses of the asked kind, or a code.
pub(crate) fn answer(packet: &[u8], question: &Question, code: Code, addresses: &[IpAddr]) -> Vec<u8> {
    let mut reply = head(packet, code);
    reply.extend_from_slice(&packet[HEADER_BYTES..question.end]);
    reply[5] = 1;
    let mut count = 0u16;
    for address in addresses {
        let data: Vec<u8> = match (address, question.kind) {
            (IpAddr::V4(address), TYPE_A) => address.octets().to_vec(),
            (IpAddr::V6(address), TYPE_AAAA) => address.octets().to_vec(),
            _ => continue,
        };
        // The name: a pointer to the question's.
        reply.extend_from_slice(&[0xc0, HEADER_BYTES as u8]);
        reply.extend_from_slice(&question.kind.to_be_bytes());
        reply.extend_from_slice(&CLASS_IN.to_be_bytes());
        reply.extend_from_slice(&LINK_TTL_SECONDS.to_be_bytes());
        reply.extend_from_slice(&(data.len() as u16).to_be_bytes());
        reply.extend_from_slice(&data);
        count += 1;
    }
    reply[6..8].copy_from_slice(&count.to_be_bytes());
    reply
}

/// A code for a packet whose question could not be read.
pub(crate) fn head(packet: &[u8], code: Code) -> Vec<u8> {
    let mut reply = vec![0; HEADER_BYTES];
    reply[..2].copy_from_slice(&packet[..2]);
    // An answer, with the query's operation and its wish for recursion; recursion is available.
    reply[2] = 0x80 | (packet[2] & 0x79);
    reply[3] = 0x80 | code as u8;
    reply
}

/// The same query under another id, so that nobody outside can guess it from the container's.
pub(crate) fn with_id(packet: &[u8], id: u16) -> Vec<u8> {
    let mut copy = packet.to_vec();
    copy[..2].copy_from_slice(&id.to_be_bytes());
    copy
}

/// It is an answer to that query: id and question are the same.
pub(crate) fn answers(reply: &[u8], query: &[u8], question: &Question) -> bool {
    reply.len() >= question.end
        && reply[..2] == query[..2]
        && reply[2] & 0x80 != 0
        && reply[4..6] == [0, 1]
        && reply[HEADER_BYTES..question.end].eq_ignore_ascii_case(&query[HEADER_BYTES..question.end])
}

#[cfg(test)]
pub(crate) fn query(id: u16, name: &str, kind: u16) -> Vec<u8> {
    let mut packet = vec![0; HEADER_BYTES];
    packet[..2].copy_from_slice(&id.to_be_bytes());
    packet[2] = 1;
    packet[5] = 1;
    for label in name.split('.') {
        packet.push(label.len() as u8);
        packet.extend_from_slice(label.as_bytes());
    }
    packet.push(0);
    packet.extend_from_slice(&kind.to_be_bytes());
    packet.extend_from_slice(&CLASS_IN.to_be_bytes());
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_read_in_lower_case() {
        let question = read_query(&query(7, "Database.INTERNAL", TYPE_A)).unwrap();
        assert_eq!((question.id, question.name.as_str(), question.kind), (7, "database.internal", TYPE_A));
    }

    #[test]
    fn hostile_packets_get_a_code_or_silence() {
        let good = query(1, "a.b", TYPE_A);
        // Every cut end is survived.
        for length in 0..good.len() {
            assert!(read_query(&good[..length]).is_err(), "{length}");
        }
        let changed = |at: usize, value: u8| {
            let mut packet = good.clone();
            packet[at] = value;
            read_query(&packet)
        };
        assert_eq!(changed(2, 0x80), Err(None), "an answer");
        assert_eq!(changed(2, 0x28), Err(Some(Code::NotImplemented)), "an update");
        assert_eq!(changed(5, 2), Err(Some(Code::Malformed)), "two questions");
        assert_eq!(changed(12, 0xc0), Err(Some(Code::Malformed)), "a pointer");
        assert_eq!(changed(13, b'.'), Err(Some(Code::Malformed)), "a dot in a label");
        assert_eq!(changed(good.len() - 1, 3), Err(Some(Code::Refused)), "the chaos class");
        let long = ["x".repeat(63).as_str(); 5].join(".");
        assert_eq!(read_query(&query(1, &long, TYPE_A)), Err(Some(Code::Malformed)));
    }

    #[test]
    fn an_answer_carries_only_addresses_of_the_asked_kind() {
        let addresses = ["10.0.0.1".parse().unwrap(), "::1".parse().unwrap()];
        for (kind, count) in [(TYPE_A, 1), (TYPE_AAAA, 1), (15, 0)] {
            let packet = query(9, "db.internal", kind);
            let reply = answer(&packet, &read_query(&packet).unwrap(), Code::Fine, &addresses);
            assert_eq!(reply[7], count, "{kind}");
            assert!(answers(&reply, &packet, &read_query(&packet).unwrap()));
        }
    }
}

//! WebSocket frames, only as far as needed to end a connection in good order (RFC 6455).

/// Status 1001: the server is going away; a client reconnects.
const GOING_AWAY: u16 = 1001;

/// Follows the frames of one direction, to know where one ends.
#[derive(Debug, Default)]
pub struct FrameTracker {
    head: [u8; 14],
    have: usize,
    /// Payload bytes of the current frame that are to come.
    left: u64,
    closed: bool,
}

impl FrameTracker {
    /// Between two frames.
    pub fn at_border(&self) -> bool {
        self.have == 0 && self.left == 0
    }

    /// A close frame has passed.
    pub fn closed(&self) -> bool {
        self.closed
    }

    /// Takes all bytes.
    pub fn take(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            bytes = &bytes[self.take_to_border(bytes)..];
        }
    }

    /// Takes bytes up to the end of the current frame and says how many; of a frame that begins here, all that is there.
    pub fn take_to_border(&mut self, bytes: &[u8]) -> usize {
        let mut used = 0;
        while used < bytes.len() {
            if self.left > 0 {
                let take = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len() - used);
                self.left -= take as u64;
                used += take;
            } else {
                self.head[self.have] = bytes[used];
                self.have += 1;
                used += 1;
                if self.have < self.head_bytes() {
                    continue;
                }
                self.closed |= self.head[0] & 0x0f == 8;
                self.left = self.payload();
                self.have = 0;
            }
            if self.at_border() {
                break;
            }
        }
        used
    }

    fn head_bytes(&self) -> usize {
        if self.have < 2 {
            return 2;
        }
        let length = match self.head[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mask = if self.head[1] & 0x80 != 0 { 4 } else { 0 };
        2 + length + mask
    }

    fn payload(&self) -> u64 {
        match self.head[1] & 0x7f {
            126 => u64::from(u16::from_be_bytes([self.head[2], self.head[3]])),
            127 => u64::from_be_bytes([
                self.head[2], self.head[3], self.head[4], self.head[5], self.head[6], self.head[7], self.head[8], self.head[9],
            ]),
            small => u64::from(small),
        }
    }
}

/// The close frame 1001 to a client: servers do not mask.
pub fn close_to_client() -> Vec<u8> {
    let reason = b"deployment";
    let mut frame = vec![0x88, 2 + reason.len() as u8];
    frame.extend_from_slice(&GOING_AWAY.to_be_bytes());
    frame.extend_from_slice(reason);
    frame
}

/// The close frame 1001 to an application: a client masks; a mask of zeros is a mask.
pub fn close_to_application() -> Vec<u8> {
    let mut frame = vec![0x88, 0x82, 0, 0, 0, 0];
    frame.extend_from_slice(&GOING_AWAY.to_be_bytes());
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn borders_are_found_however_the_bytes_are_cut() {
        let mut stream = vec![0x81, 0x03, b'a', b'b', b'c'];
        stream.extend([0x82, 126, 0x01, 0x00]);
        stream.extend([7; 256]);
        stream.extend([0x81, 0x82, 1, 2, 3, 4, 9, 9]);
        stream.extend([0x81, 127, 0, 0, 0, 0, 0, 0, 0, 1, 5, 0x89, 0x00]);
        let borders = [5, 265, 273, 284, 286];
        let mut tracker = FrameTracker::default();
        for (i, byte) in stream.iter().enumerate() {
            tracker.take(&[*byte]);
            assert_eq!(tracker.at_border(), borders.contains(&(i + 1)), "{i}");
        }
        let mut tracker = FrameTracker::default();
        assert_eq!(tracker.take_to_border(&stream), 5);
        assert_eq!(tracker.take_to_border(&stream[5..100]), 95);
        assert_eq!(tracker.take_to_border(&stream[100..]), 165);
        assert!(tracker.at_border() && !tracker.closed());
    }

    #[test]
    fn the_close_frames_are_whole_frames_with_1001() {
        for frame in [close_to_client(), close_to_application()] {
            let mut tracker = FrameTracker::default();
            assert_eq!(tracker.take_to_border(&frame), frame.len());
            assert!(tracker.closed() && tracker.at_border());
        }
        assert_eq!(&close_to_client()[2..4], &[0x03, 0xe9]);
    }
}

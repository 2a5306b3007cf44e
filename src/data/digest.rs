//! A 128-bit digest of bytes: names cached files and finds damage. It guards against accidents, not against attackers.

/// Two lanes of multiply and xor-shift over 16-byte blocks.
#[derive(Clone, Debug)]
pub(crate) struct Digest {
    lanes: [u64; 2],
    rest: Vec<u8>,
    length: u64,
}

const BLOCK: usize = 16;
const SPREAD: [u64; 2] = [0x9e37_79b9_7f4a_7c15, 0xc2b2_ae3d_27d4_eb4f];

impl Digest {
    pub(crate) fn new() -> Self {
        Self { lanes: SPREAD, rest: Vec::with_capacity(BLOCK), length: 0 }
    }

    /// The digest of several byte strings; where one ends matters.
    pub(crate) fn of(parts: &[&[u8]]) -> [u8; 16] {
        let mut digest = Self::new();
        for part in parts {
            digest.update(&(part.len() as u64).to_le_bytes());
            digest.update(part);
        }
        digest.finish()
    }

    /// More bytes; how they are cut into calls does not matter.
    pub(crate) fn update(&mut self, mut bytes: &[u8]) {
        self.length += bytes.len() as u64;
        if !self.rest.is_empty() {
            let taken = (BLOCK - self.rest.len()).min(bytes.len());
            self.rest.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if self.rest.len() < BLOCK {
                return;
            }
            let block = std::mem::take(&mut self.rest);
            self.block(&block);
        }
        let blocks = bytes.chunks_exact(BLOCK);
        let rest = blocks.remainder();
        blocks.for_each(|block| self.block(block));
        self.rest.extend_from_slice(rest);
    }

    pub(crate) fn finish(mut self) -> [u8; 16] {
        let mut last = std::mem::take(&mut self.rest);
        last.resize(BLOCK, 0);
        self.block(&last);
        self.block(&[self.length.to_le_bytes(), (!self.length).to_le_bytes()].concat());
        let [first, second] = self.lanes;
        let mixed = [mix(first ^ second.rotate_left(32)), mix(second ^ mix(first))];
        let mut bytes = [0; BLOCK];
        bytes[..8].copy_from_slice(&mixed[0].to_le_bytes());
        bytes[8..].copy_from_slice(&mixed[1].to_le_bytes());
        bytes
    }

    fn block(&mut self, block: &[u8]) {
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            let mut word = [0; 8];
            word.copy_from_slice(&block[index * 8..index * 8 + 8]);
            *lane = mix(*lane ^ u64::from_le_bytes(word)).wrapping_add(SPREAD[index]);
        }
        self.lanes[0] ^= self.lanes[1].rotate_left(17);
    }
}

fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// 32 hexadecimal digits.
pub(crate) fn hex(digest: &[u8; 16]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_do_not_matter_and_every_byte_does() {
        let bytes: Vec<u8> = (0..100_u8).collect();
        let mut whole = Digest::new();
        whole.update(&bytes);
        let whole = whole.finish();
        for size in [1, 3, 16, 17, 64] {
            let mut cut = Digest::new();
            bytes.chunks(size).for_each(|piece| cut.update(piece));
            assert_eq!(cut.finish(), whole, "{size}");
        }
        for index in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[index] ^= 1;
            let mut digest = Digest::new();
            digest.update(&changed);
            assert_ne!(digest.finish(), whole, "{index}");
        }
    }

    #[test]
    fn lengths_and_borders_matter() {
        assert_ne!(Digest::of(&[b"ab", b"c"]), Digest::of(&[b"a", b"bc"]));
        assert_ne!(Digest::of(&[b""]), Digest::of(&[]));
        assert_ne!(Digest::of(&[&[0; 15]]), Digest::of(&[&[0; 16]]));
    }

    #[test]
    fn the_digest_is_fixed_for_ever() {
        assert_eq!(hex(&Digest::of(&[b"chronicle"])), "2b099e9edfcb47b89cd80fdfc31c48de");
    }
}

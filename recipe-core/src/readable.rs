//! Numbers as people write them.

/// Bytes as people read them, in binary units: `12.6 GiB`.
pub fn readable_bytes(bytes: u64) -> String {
    const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    match UNITS.iter().find(|(_, shift)| bytes >> shift > 0) {
        Some((unit, shift)) => format!("{:.1} {unit}", bytes as f64 / (1u64 << shift) as f64),
        None => format!("{bytes} B"),
    }
}

/// A length as a recipe writes it: 131072 is `128K`.
pub fn readable_tokens(length: usize) -> String {
    match length {
        n if n > 0 && n.is_multiple_of(1 << 20) => format!("{}M", n >> 20),
        n if n > 0 && n.is_multiple_of(1 << 10) => format!("{}K", n >> 10),
        n => n.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_readable() {
        assert_eq!(readable_bytes(1023), "1023 B");
        assert_eq!(readable_bytes(3 << 29), "1.5 GiB");
        assert_eq!(readable_bytes(u64::MAX), "16777216.0 TiB");
    }

    #[test]
    fn lengths_are_readable() {
        let read = [0, 1000, 4096, 131_072, 1 << 20, 1536].map(readable_tokens);
        assert_eq!(read, ["0", "1000", "4K", "128K", "1M", "1536"]);
    }
}

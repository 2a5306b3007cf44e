//! Files as they lie on disk: plain, gzip or Zstandard. The name says which, and the first bytes have to agree: a wrong
//! name would otherwise train on noise.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::{CHUNK, open, unreadable};
use crate::data::digest::Digest;
use crate::data::error::Error;

/// How a file's bytes hold its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::data) enum Compression {
    None,
    Gzip,
    Zstd,
}

/// Endings of what is not read here, and what to do about it.
const REFUSED: [(&str, &str); 9] = [
    ("bz2", "decompress it with `bunzip2`"),
    ("xz", "decompress it with `unxz`"),
    ("lz4", "decompress it with `unlz4`"),
    ("br", "decompress it with `brotli -d`"),
    ("zip", "unpack it with `unzip`"),
    ("7z", "unpack it with `7z x`"),
    ("tar", "unpack it with `tar -xf`"),
    ("tgz", "unpack it with `tar -xf`"),
    ("arrow", "write it as Parquet in Python: `datasets.Dataset.from_file(\"…\").to_parquet(\"train.parquet\")`"),
];

/// First bytes and what they mean.
const MAGIC: [(&[u8], &str); 8] = [
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "Zstandard"),
    (b"PAR1", "Parquet"),
    (b"ARROW1", "Arrow"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"PK\x03\x04", "zip"),
    (b"version https://git-lfs", "git LFS"),
];

impl Compression {
    /// What the end of a name says, and the name without it: `a.jsonl.gz` is `a.jsonl` in gzip.
    pub(in crate::data) fn of(path: &Path) -> (Self, &Path) {
        let inner = || path.file_stem().map_or(path, Path::new);
        match ending(path).as_str() {
            "gz" => (Self::Gzip, inner()),
            "zst" | "zstd" => (Self::Zstd, inner()),
            _ => (Self::None, path),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::None => "plain text",
            Self::Gzip => "gzip",
            Self::Zstd => "Zstandard",
        }
    }

    fn test(self) -> &'static str {
        if self == Self::Gzip { "gzip -t" } else { "zstd -t" }
    }
}

/// The last ending of a name in small letters.
pub(in crate::data) fn ending(path: &Path) -> String {
    path.extension().unwrap_or_default().to_string_lossy().to_lowercase()
}

/// An open file that remembers what was read of it.
pub(in crate::data) struct Opened<'a> {
    path: &'a Path,
    tap: BufReader<Tap<'a>>,
    compression: Compression,
}

/// Every byte on its way from the disk.
struct Tap<'a> {
    file: File,
    digest: Digest,
    at: &'a Cell<u64>,
}

impl Read for Tap<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.digest.update(&buffer[..read]);
        self.at.set(self.at.get() + read as u64);
        Ok(read)
    }
}

impl<'a> Opened<'a> {
    /// Opens a file of text; `at` counts the bytes that are read of it.
    pub(super) fn new(path: &'a Path, at: &'a Cell<u64>) -> Result<Self, Error> {
        let (compression, inner) = Compression::of(path);
        for name in [path, inner] {
            if let Some((ending, what)) = REFUSED.iter().find(|(other, _)| ending(name) == *other) {
                let reason = format!(".{ending} is not read; {what}");
                return Err(Error::File { path: path.to_owned(), reason });
            }
        }
        let mut opened = text_of(path, compression, at)?;
        let start = opened.tap.fill_buf().map_err(|error| unreadable(path, &error))?;
        check_start(path, compression.name(), start)?;
        Ok(opened)
    }

    /// The text.
    pub(in crate::data) fn text(&mut self) -> Box<dyn Read + '_> {
        match self.compression {
            Compression::None => Box::new(&mut self.tap),
            Compression::Gzip => Box::new(MultiGzDecoder::new(&mut self.tap)),
            Compression::Zstd => Box::new(Frames { source: &mut self.tap, frame: FrameDecoder::new(), open: false }),
        }
    }

    /// The digest of the file, once all of its text is read.
    pub(super) fn finish(mut self) -> Result<[u8; 16], Error> {
        io::copy(&mut self.tap, &mut io::sink()).map_err(|error| unreadable(self.path, &error))?;
        Ok(self.tap.into_inner().digest.finish())
    }
}

/// A file whatever its name says.
pub(in crate::data) fn text_of<'a>(
    path: &'a Path,
    compression: Compression,
    at: &'a Cell<u64>,
) -> Result<Opened<'a>, Error> {
    let tap = BufReader::with_capacity(CHUNK, Tap { file: open(path)?, digest: Digest::new(), at });
    Ok(Opened { path, tap, compression })
}

/// By a file's first bytes.
pub(in crate::data) fn compression_of(path: &Path) -> Result<Compression, Error> {
    let mut start = vec![];
    open(path)?.take(4).read_to_end(&mut start).map_err(|error| unreadable(path, &error))?;
    Ok(match MAGIC.iter().find(|(magic, _)| start.starts_with(magic)) {
        Some((_, "gzip")) => Compression::Gzip,
        Some((_, "Zstandard")) => Compression::Zstd,
        _ => Compression::None,
    })
}

/// What to say when the text of a file cannot be read.
pub(super) fn broken(path: &Path, error: &io::Error) -> Error {
    let (compression, _) = Compression::of(path);
    // The system's own errors have a number: a disk that fails says nothing about the data.
    if compression == Compression::None || error.raw_os_error().is_some() {
        return unreadable(path, error);
    }
    let (name, test) = (compression.name(), compression.test());
    let reason =
        format!("its {name} data are damaged or end too early ({error}); fetch it again, `{test}` tests a file");
    Error::File { path: path.to_owned(), reason }
}

/// Holds the first bytes against `named`, what the name says.
pub(super) fn check_start(path: &Path, named: &str, start: &[u8]) -> Result<(), Error> {
    // A skippable frame of Zstandard may come first: 0x184D2A50 to 0x184D2A5F.
    let skippable = start.len() >= 4 && start[0] & 0xf0 == 0x50 && start[1..4] == *b"\x2a\x4d\x18";
    let known = MAGIC.iter().find(|(magic, _)| start.starts_with(magic)).map(|(_, name)| *name);
    let found = known.or(skippable.then_some("Zstandard")).unwrap_or("plain text");
    if found == named {
        return Ok(());
    }
    let what = match found {
        "git LFS" => "it is a pointer of git LFS; fetch what it stands for with `git lfs pull`".to_owned(),
        _ if start.is_empty() => "it is empty; fetch it again".to_owned(),
        "plain text" => format!("its first bytes are not {named}'s; rename it or fetch it again"),
        "gzip" => "its first bytes are gzip's; rename it to end in .gz".to_owned(),
        "Zstandard" => "its first bytes are Zstandard's; rename it to end in .zst".to_owned(),
        "Parquet" => "its first bytes are Parquet's; read it with parquet(\"…\")".to_owned(),
        other => format!("its first bytes are {other}'s, which is not read; decompress it"),
    };
    Err(Error::File { path: path.to_owned(), reason: format!("its name says {named}, but {what}") })
}

/// The frames of a Zstandard file one after another; each may carry a checksum.
struct Frames<R> {
    source: R,
    frame: FrameDecoder,
    open: bool,
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.open {
                match self.within(buffer)? {
                    0 => self.close()?,
                    read => return Ok(read),
                }
            }
            if self.source.fill_buf()?.is_empty() {
                return Ok(0);
            }
            self.begin()?;
        }
    }
}

impl<R: BufRead> Frames<R> {
    fn begin(&mut self) -> io::Result<()> {
        match self.frame.init(&mut self.source) {
            Ok(()) => self.open = true,
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                let skipped = io::copy(&mut self.source.by_ref().take(length.into()), &mut io::sink())?;
                if skipped < u64::from(length) {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            Err(error) => return Err(io::Error::other(error)),
        }
        Ok(())
    }

    fn within(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.frame.can_collect() == 0 && !self.frame.is_finished() {
            let blocks = self.frame.decode_blocks(&mut self.source, BlockDecodingStrategy::UptoBlocks(1));
            blocks.map_err(io::Error::other)?;
        }
        self.frame.read(buffer)
    }

    fn close(&mut self) -> io::Result<()> {
        self.open = false;
        match self.frame.get_checksum_from_data() {
            Some(sum) if self.frame.get_calculated_checksum() != Some(sum) => Err(io::Error::other("wrong checksum")),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;

use std::cell::Cell;

use super::*;

const KEY: Key = [7; 16];

fn write(writer: &mut TokenWriter) -> Result<(), Error> {
    for document in [&[1, 2, 3][..], &[], &[u32::MAX]] {
        writer.tokens(document).unwrap();
        writer.characters(5);
        writer.end();
    }
    Ok(())
}

/// Opens the cache; tells what it holds and whether it had to be made.
fn obtain(dir: &Path, key: &Key) -> (Vec<u32>, bool) {
    let made = Cell::new(false);
    let file = TokenFile::obtain(dir, key, |writer| {
        made.set(true);
        write(writer)
    });
    let file = file.unwrap();
    assert_eq!(file.ends(), [3, 4]);
    assert_eq!((file.characters, file.empty), (15, 1));
    let mut tokens = Vec::new();
    file.read(0, 4, &mut tokens).unwrap();
    (tokens, made.get())
}

fn only_tokens(dir: &Path) -> PathBuf {
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut tokens = files.filter(|path| path.extension().is_some_and(|extension| extension == "tokens"));
    let path = tokens.next().unwrap();
    assert!(tokens.next().is_none());
    path
}

#[test]
fn made_once_and_read_back() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(obtain(dir.path(), &KEY), (vec![1, 2, 3, u32::MAX], true));
    assert_eq!(obtain(dir.path(), &KEY), (vec![1, 2, 3, u32::MAX], false));
    let (_, made) = obtain(dir.path(), &[8; 16]);
    assert!(made, "another key is another file");
}

#[test]
fn every_damaged_byte_and_every_truncation_is_found() {
    let dir = tempfile::tempdir().unwrap();
    obtain(dir.path(), &KEY);
    let path = only_tokens(dir.path());
    let whole = fs::read(&path).unwrap();
    for index in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[index] ^= 0x10;
        fs::write(&path, damaged).unwrap();
        assert!(TokenFile::open(&path, &KEY).is_none(), "byte {index}");
        fs::write(&path, &whole[..index]).unwrap();
        assert!(TokenFile::open(&path, &KEY).is_none(), "length {index}");
    }
    assert_eq!(obtain(dir.path(), &KEY), (vec![1, 2, 3, u32::MAX], true));
    assert_eq!(fs::read(&path).unwrap(), whole);
}

#[test]
fn a_stale_file_under_the_same_name_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    obtain(dir.path(), &[8; 16]);
    let stale = only_tokens(dir.path());
    let path = dir.path().join(format!("{}.tokens", hex(&KEY)));
    fs::rename(stale, &path).unwrap();
    assert!(obtain(dir.path(), &KEY).1);
}

#[test]
fn left_overs_of_a_killed_writer_do_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let aside = dir.path().join(format!("{}.part", hex(&KEY)));
    fs::write(&aside, vec![1; 100_000]).unwrap();
    fs::write(dir.path().join(format!("{}.lock", hex(&KEY))), b"").unwrap();
    assert!(obtain(dir.path(), &KEY).1);
    assert!(!aside.exists());
}

#[test]
fn a_failed_writer_leaves_nothing_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let failed = TokenFile::obtain(dir.path(), &KEY, |writer| {
        write(writer)?;
        Err(Error::NoSource)
    });
    assert!(matches!(failed, Err(Error::NoSource)));
    let left = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
    assert!(left.into_iter().all(|path| path.extension().unwrap() == "lock"));
    assert!(obtain(dir.path(), &KEY).1);
}

#[test]
fn writers_at_the_same_time_make_it_once() {
    let dir = tempfile::tempdir().unwrap();
    let made = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let file = TokenFile::obtain(dir.path(), &KEY, |writer| {
                    made.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    std::thread::yield_now();
                    write(writer)
                });
                assert_eq!(file.unwrap().ends(), [3, 4]);
            });
        }
    });
    assert_eq!(made.into_inner(), 1);
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let dir = file.path().join("cache");
    let said = TokenFile::obtain(&dir, &KEY, write).unwrap_err().to_string();
    assert!(said.contains("the token cache could not be written"), "{said}");
    assert!(said.contains(&*dir.to_string_lossy()), "{said}");
}

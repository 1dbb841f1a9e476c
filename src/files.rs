//! Files that are written whole, and the lock on a run's folder.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// What temporary files are called, with random letters between.
const TEMPORARY: [&str; 2] = [".wgrad-", ".tmp"];

/// Name of the file in a run's folder that is locked while a run writes there.
const LOCK: &str = "run.lock";

/// Writes a file under a temporary name beside it and renames it, so that a reader never sees half of it and a crash
/// leaves the old one. It keeps the permissions of the old one. The folder is made if it is not there.
///
/// # Errors
/// [`Error::Io`].
#[doc(hidden)]
pub fn write_renamed(path: &Path, content: &[u8]) -> Result<()> {
    let folder = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    let fail = |e: std::io::Error| Error::io(path, e);
    std::fs::create_dir_all(folder).map_err(fail)?;
    // A start of another run may clear the file away before it is locked.
    match write_once(path, folder, content) {
        Err(error) if error.kind() == ErrorKind::NotFound => write_once(path, folder, content),
        written => written,
    }
    .map_err(fail)
}

fn write_once(path: &Path, folder: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(TEMPORARY[0]).suffix(TEMPORARY[1]);
    // Temporary files are private by default; this one is to be read by whom the umask allows.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder)?;
    // Tells `clear` that somebody is at it; where files cannot be locked, it clears none.
    let _ = file.as_file().try_lock();
    file.write_all(content)?;
    file.as_file().sync_all()?;
    // A file that others share stays theirs too.
    if let Ok(old) = std::fs::metadata(path) {
        file.as_file().set_permissions(old.permissions())?;
    }
    file.persist(path)?;
    Ok(())
}

/// Removes the temporary files that processes left which ended before they could rename them: the system lets go of a
/// process's locks, however it ends.
fn clear(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_temporary = name.starts_with(TEMPORARY[0]) && name.ends_with(TEMPORARY[1]);
        if !is_temporary || !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            continue;
        }
        // Opened for writing, as some systems lock no others.
        let is_left = OpenOptions::new().write(true).open(entry.path()).is_ok_and(|f| f.try_lock().is_ok());
        if is_left && let Err(error) = std::fs::remove_file(entry.path()) {
            tracing::warn!(path = %entry.path().display(), %error, "a temporary file of an earlier run stays");
        }
    }
}

/// The right to write to the folder of a run, which one process has at a time: two runs in one folder would mix their
/// files. It is a lock of the operating system on the file `run.lock` there, which ends with the process, however that
/// ends; the file stays and says which process had it last. Reading a run's files needs no lock.
#[derive(Debug)]
pub struct FolderLock {
    folder: PathBuf,
    /// `None` where the file system has no locks.
    _file: Option<File>,
}

impl FolderLock {
    /// Takes the lock, and removes temporary files that killed runs have left. The folder is made if it is not there.
    ///
    /// Where the file system has no locks, that is logged and the folder is not protected.
    ///
    /// # Errors
    /// [`Error::Locked`] with the number of the process that has it, and [`Error::Io`].
    pub fn acquire(folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref();
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        let path = folder.join(LOCK);
        let fail = |e: std::io::Error| Error::io(&path, e);
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = options.map_err(fail)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                // Some systems let nobody read what is locked.
                let process = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
                return Err(Error::Locked { folder: folder.into(), process });
            }
            // Some say that they have no locks, some that none is to be had (NFS without its lock daemon).
            Err(TryLockError::Error(error)) => {
                tracing::warn!(path = %path.display(), %error, "no lock: two runs in this folder would mix their files");
                return Ok(FolderLock { folder: folder.into(), _file: None });
            }
        }
        file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0))).map_err(fail)?;
        writeln!(file, "{}", std::process::id()).map_err(fail)?;
        clear(folder);
        Ok(FolderLock { folder: folder.into(), _file: Some(file) })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_a_folder_at_a_time_and_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("new/run");
        let lock = FolderLock::acquire(&folder).unwrap();
        assert_eq!(lock.folder(), folder);
        let error = FolderLock::acquire(&folder).unwrap_err();
        assert!(
            matches!(error, Error::Locked { process: Some(id), .. } if id == std::process::id()),
            "{error}"
        );
        let text = error.to_string();
        assert!(text.contains(&format!("process {} writes to this folder", std::process::id())), "{text}");
        assert!(text.contains("give this run another folder"), "{text}");
        drop(lock);
        // As a killed process leaves it.
        std::fs::write(folder.join(LOCK), "123456789\n").unwrap();
        FolderLock::acquire(&folder).unwrap();
        assert_eq!(std::fs::read_to_string(folder.join(LOCK)).unwrap(), format!("{}\n", std::process::id()));
    }

    #[test]
    fn temporary_files_of_dead_processes_are_cleared() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let [left, written, other] = [".wgrad-a1B2c3.tmp", ".wgrad-d4E5f6.tmp", ".tmpXyZ123"].map(path);
        [&left, &written, &other].into_iter().for_each(|path| std::fs::write(path, "half").unwrap());
        let writer = File::open(&written).unwrap();
        writer.lock().unwrap();
        let lock = FolderLock::acquire(folder.path()).unwrap();
        assert_eq!([&left, &written, &other].map(|path| path.exists()), [false, true, true]);
        drop((lock, writer));
        FolderLock::acquire(folder.path()).unwrap();
        assert!(!written.exists() && other.exists());
    }

    #[test]
    fn a_file_is_replaced_whole_and_nothing_else_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/file");
        for content in ["first", "second"] {
            write_renamed(&path, content.as_bytes()).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
        }
        assert_eq!(std::fs::read_dir(folder.path().join("deep")).unwrap().count(), 1);
        let error = write_renamed(&path.join("under"), b"x").unwrap_err();
        assert!(matches!(error, Error::Io { .. }), "{error}");
    }
}

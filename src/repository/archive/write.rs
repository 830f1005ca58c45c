//! Writing transport archives.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex};

use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::{NamedTempFile, TempDir};

use super::files::{self, Files, sync_folder};
use super::index::{self, Index};
use super::{Archive, ArchiveError, Form, Inner};

/// Opens an archive for writing, or begins a new one.
pub(super) fn create(path: &Path, form: Option<Form>) -> Result<Archive, ArchiveError> {
    let exists = match fs::metadata(path) {
        Ok(metadata) => Some(metadata.is_dir()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(source) => return Err(ArchiveError::open(path, source)),
    };
    let form = form
        .or_else(|| Form::by_suffix(path))
        .unwrap_or(Form::Folder);
    match (exists, form) {
        (Some(true), Form::Tar | Form::TarGzip) => Err(ArchiveError::OtherForm {
            found: "folder",
            wanted: "file",
        }),
        (Some(false), Form::Folder) => Err(ArchiveError::OtherForm {
            found: "file",
            wanted: "folder",
        }),
        (_, Form::Folder) => folder(path),
        (Some(false), _) => {
            let read = Archive::read(path)?;
            writable(read, path, form)
        }
        (None, _) => {
            let spool = tempfile::tempdir().map_err(|source| ArchiveError::Spool { source })?;
            begin(spool.path())?;
            new(path, form, Files::new(spool.path().to_owned()), Some(spool))
        }
    }
}

fn folder(path: &Path) -> Result<Archive, ArchiveError> {
    fs::create_dir_all(path).map_err(ArchiveError::write(path))?;
    let files = Files::new(path.to_owned());
    if files.exists(index::FILE)? {
        return writable(Archive::read(path)?, path, Form::Folder);
    }
    if files.exists(super::component::FILE)? {
        return Err(ArchiveError::NotWritable);
    }
    let mut entries = fs::read_dir(path).map_err(|source| ArchiveError::open(path, source))?;
    if entries.next().is_some() {
        // A folder of something else is not to be filled with blobs by a slip of the finger.
        return Err(ArchiveError::Unknown);
    }
    begin(path)?;
    new(path, Form::Folder, files, None)
}

/// The empty archive in an empty folder.
fn begin(root: &Path) -> Result<(), ArchiveError> {
    let blobs = root.join(files::BLOBS);
    fs::create_dir(&blobs).map_err(ArchiveError::write(&blobs))?;
    Index::default().write(&Files::new(root.to_owned()))
}

fn writable(read: Archive, path: &Path, form: Form) -> Result<Archive, ArchiveError> {
    if !read.inner.made_up.is_empty() {
        return Err(ArchiveError::NotWritable);
    }
    let inner = Arc::into_inner(read.inner).ok_or(ArchiveError::Locked)?;
    let blobs = inner.files.root().join(files::BLOBS);
    fs::create_dir_all(&blobs).map_err(ArchiveError::write(&blobs))?;
    let lock = lock(path, form)?;
    Ok(Archive {
        inner: Arc::new(Inner {
            output: Some(form),
            _lock: lock,
            ..inner
        }),
    })
}

fn new(
    path: &Path,
    form: Form,
    files: Files,
    spool: Option<TempDir>,
) -> Result<Archive, ArchiveError> {
    let lock = lock(path, form)?;
    Ok(Archive {
        inner: Arc::new(Inner {
            path: path.to_owned(),
            files,
            index: Mutex::default(),
            made_up: std::collections::HashMap::new(),
            output: Some(form),
            _lock: lock,
            _spool: spool,
        }),
    })
}

/// Two writers of one folder would lose each other's names. A tar file is replaced as a whole.
fn lock(path: &Path, form: Form) -> Result<Option<File>, ArchiveError> {
    if form != Form::Folder {
        return Ok(None);
    }
    let folder = File::open(path).map_err(|source| ArchiveError::open(path, source))?;
    match folder.try_lock() {
        Ok(()) => Ok(Some(folder)),
        Err(fs::TryLockError::WouldBlock) => Err(ArchiveError::Locked),
        Err(fs::TryLockError::Error(source)) => Err(ArchiveError::open(path, source)),
    }
}

/// Makes the file of an archive that is one.
pub(super) fn finish(archive: &Archive) -> Result<(), ArchiveError> {
    let Inner {
        path,
        files,
        output,
        ..
    } = &*archive.inner;
    let wrong = || ArchiveError::write(path);
    let form = match output {
        None | Some(Form::Folder) => return Ok(()),
        Some(form) => *form,
    };
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(folder).map_err(wrong())?;
    let file = NamedTempFile::new_in(folder).map_err(wrong())?;
    let mut sink = BufWriter::new(file.as_file());
    if form == Form::TarGzip {
        let mut encoder = GzEncoder::new(&mut sink, Compression::default());
        pack(files.root(), &mut encoder).map_err(wrong())?;
        encoder.finish().map_err(wrong())?;
    } else {
        pack(files.root(), &mut sink).map_err(wrong())?;
    }
    sink.flush().map_err(wrong())?;
    drop(sink);
    files::readable(file.as_file()).map_err(wrong())?;
    file.as_file().sync_all().map_err(wrong())?;
    file.persist(path).map_err(|error| wrong()(error.error))?;
    sync_folder(folder).map_err(wrong())
}

/// The index first, so that a reader knows early what it reads; then the blobs by name.
fn pack(root: &Path, sink: &mut dyn io::Write) -> io::Result<()> {
    let mut builder = tar::Builder::new(sink);
    append(&mut builder, root, index::FILE)?;
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::Directory);
    header.set_mode(0o755);
    header.set_size(0);
    builder.append_data(&mut header, files::BLOBS, io::empty())?;
    let mut names = fs::read_dir(root.join(files::BLOBS))?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<Vec<_>>>()?;
    names.sort();
    for name in names {
        append(&mut builder, root, &format!("{}/{name}", files::BLOBS))?;
    }
    builder.finish()
}

fn append(
    builder: &mut tar::Builder<&mut dyn io::Write>,
    root: &Path,
    name: &str,
) -> io::Result<()> {
    let file = File::open(root.join(name))?;
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(file.metadata()?.len());
    builder.append_data(&mut header, name, file)
}

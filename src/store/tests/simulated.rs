//! A file system in memory that keeps apart what was written and what is durable, and that fails
//! when it is told to.

mod crash;
mod world;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::store::files::{FileSystem, Found, Handle};

pub(super) use crash::Fate;
pub(super) use world::{Fault, World};

use world::{Change, Node, empty_folder, sync_folder};

/// The only root folder that stores are opened in.
pub(super) const ROOT: &str = "/store";

/// Called after each change.
type Observer = Box<dyn Fn(&World) + Send + Sync>;

/// A shared [`World`].
#[derive(Clone)]
pub(super) struct Simulated {
    world: Arc<Mutex<World>>,
    observer: Arc<Mutex<Option<Observer>>>,
}

impl std::fmt::Debug for Simulated {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Simulated")
    }
}

impl Simulated {
    pub(super) fn new(world: World) -> Self {
        Self {
            world: Arc::new(Mutex::new(world)),
            observer: Arc::default(),
        }
    }

    pub(super) fn observe(&self, observer: impl Fn(&World) + Send + Sync + 'static) {
        *self.observer.lock().unwrap() = Some(Box::new(observer));
    }

    /// Has calls fail, counted from now.
    pub(super) fn fail(&self, fault: Option<Fault>) {
        let mut world = self.world();
        world.calls = 0;
        world.fault = fault;
    }

    /// How many calls were made since [`Self::fail`].
    pub(super) fn calls(&self) -> u64 {
        self.world().calls
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the first byte of a file behind everybody's back, as a rotting disk does: size and
    /// times stay.
    pub(super) fn rot(&self, path: &Path) {
        let mut world = self.world();
        let node = world.find(path).unwrap();
        if let Node::File {
            content, durable, ..
        } = &mut world.nodes[node]
        {
            content[0] ^= 1;
            *durable = Some(content.clone());
        }
    }

    /// As [`Self::rot`], and the file's time tells of it.
    pub(super) fn overwrite(&self, path: &Path) {
        self.rot(path);
        let mut world = self.world();
        world.clock += 1;
        let (node, clock) = (world.find(path).unwrap(), world.clock);
        if let Node::File { modified, .. } = &mut world.nodes[node] {
            *modified = clock;
        }
    }

    /// One call that changes something.
    fn changing<T>(&self, act: impl FnOnce(&mut World) -> io::Result<T>) -> io::Result<T> {
        let mut world = self.world();
        world.call()?;
        let result = act(&mut world)?;
        let observer = self.observer.lock().unwrap();
        if let Some(observer) = &*observer {
            observer(&world);
        }
        Ok(result)
    }

    fn reading<T>(&self, act: impl FnOnce(&World) -> io::Result<T>) -> io::Result<T> {
        let mut world = self.world();
        // What only looks does not fail for want of space.
        if world
            .fault
            .is_some_and(|fault| fault.kind != io::ErrorKind::StorageFull)
        {
            world.call()?;
        }
        act(&world)
    }

    fn handle(&self, node: usize) -> Box<dyn Handle> {
        Box::new(Open {
            files: self.clone(),
            node,
            position: 0,
        })
    }
}

impl FileSystem for Simulated {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        self.changing(|world| world.create(path, empty_folder()).map(|_| ()))
    }

    fn create_root(&self, path: &Path) -> io::Result<()> {
        match self.create_folder(path) {
            Err(source) if source.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }?;
        // The folder that the store lies in is somebody else's to make durable.
        self.changing(|world| {
            sync_folder(world, 0);
            Ok(())
        })
    }

    fn create_file(&self, path: &Path) -> io::Result<Box<dyn Handle>> {
        let file = Node::File {
            content: Vec::new(),
            durable: None,
            modified: 0,
            is_lost: false,
        };
        let node = self.changing(|world| world.create(path, file))?;
        Ok(self.handle(node))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Handle>> {
        let node = self.reading(|world| world.find(path))?;
        Ok(self.handle(node))
    }

    fn look(&self, path: &Path) -> io::Result<Found> {
        self.reading(|world| world.find(path).map(|node| world.found(node)))
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<OsString>> {
        self.reading(|world| match &world.nodes[world.find(folder)?] {
            Node::Folder { entries, .. } => Ok(entries.keys().cloned().collect()),
            Node::File { .. } => Err(io::ErrorKind::NotADirectory.into()),
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.changing(|world| {
            let node = world.find(from)?;
            let (source, target) = (world.parent(from)?, world.parent(to)?);
            let change = Change {
                name: target.1.clone(),
                node: Some(node),
                after: None,
            };
            world.change(target.0, change);
            let change = Change {
                name: source.1,
                node: None,
                after: Some(target),
            };
            world.change(source.0, change);
            Ok(())
        })
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.changing(|world| {
            world.find(path)?;
            let (folder, name) = world.parent(path)?;
            let change = Change {
                name,
                node: None,
                after: None,
            };
            world.change(folder, change);
            Ok(())
        })
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        let is_empty = self.list(path)?.is_empty();
        if is_empty {
            return self.remove_file(path);
        }
        Err(io::ErrorKind::DirectoryNotEmpty.into())
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let synced = self.changing(|world| {
            let node = world.find(folder)?;
            sync_folder(world, node);
            Ok(())
        });
        if synced.is_err() {
            let mut world = self.world();
            if let Ok(node) = world.find(folder)
                && let Node::Folder { pending, .. } = &mut world.nodes[node]
            {
                // They stay visible, and no later sync makes them durable.
                pending.clear();
            }
        }
        synced
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Handle>>> {
        let handle = match self.create_file(path) {
            Err(source) if source.kind() == io::ErrorKind::AlreadyExists => self.open(path),
            other => other,
        };
        handle.map(Some)
    }

    fn free(&self, _path: &Path) -> io::Result<u64> {
        Ok(1 << 30)
    }
}

/// An open file.
#[derive(Debug)]
struct Open {
    files: Simulated,
    node: usize,
    position: usize,
}

impl Read for Open {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (node, position) = (self.node, self.position);
        let length = self.files.reading(|world| {
            let Node::File { content, .. } = &world.nodes[node] else {
                return Err(io::ErrorKind::IsADirectory.into());
            };
            let left = content.get(position..).unwrap_or_default();
            let length = left.len().min(buffer.len());
            buffer[..length].copy_from_slice(&left[..length]);
            Ok(length)
        })?;
        self.position += length;
        Ok(length)
    }
}

impl Write for Open {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        let node = self.node;
        self.files.changing(|world| {
            let clock = world.clock;
            if let Node::File {
                content, modified, ..
            } = &mut world.nodes[node]
            {
                content.extend_from_slice(piece);
                *modified = clock;
            }
            Ok(piece.len())
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Open {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        match position {
            SeekFrom::Start(position) => self.position = usize::try_from(position).unwrap(),
            SeekFrom::End(_) | SeekFrom::Current(_) => {
                return Err(io::ErrorKind::Unsupported.into());
            }
        }
        Ok(self.position as u64)
    }
}

impl Handle for Open {
    fn found(&self) -> io::Result<Found> {
        self.files.reading(|world| Ok(world.found(self.node)))
    }

    fn sync(&self) -> io::Result<()> {
        let synced = self.files.changing(|world| {
            if let Node::File {
                content,
                durable,
                is_lost: false,
                ..
            } = &mut world.nodes[self.node]
            {
                *durable = Some(content.clone());
            }
            Ok(())
        });
        if synced.is_err() {
            let mut world = self.files.world();
            if let Node::File { is_lost, .. } = &mut world.nodes[self.node] {
                *is_lost = true;
            }
        }
        synced
    }

    fn forget_cached(&self) {}

    fn into_file(self: Box<Self>) -> io::Result<File> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

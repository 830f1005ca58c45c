//! A file system in memory that keeps apart what was written and what is durable, and that fails
//! when it is told to.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fastrand::Rng;

use super::crashes::checker::Tree;
use crate::store::files::{FileSystem, Found, Handle, Stamp};

/// The only root folder that stores are opened in.
pub(super) const ROOT: &str = "/store";

/// A file or folder.
#[derive(Debug, Clone)]
enum Node {
    File {
        content: Vec<u8>,
        /// What is on the disk for sure; nothing before the first sync.
        durable: Option<Vec<u8>>,
        modified: u64,
        /// A sync failed: the pages are dropped, and later ones say "worked" of nothing.
        is_lost: bool,
    },
    Folder {
        entries: BTreeMap<OsString, usize>,
        durable: BTreeMap<OsString, usize>,
        /// Changes of names since the last sync, oldest first.
        pending: Vec<Change>,
    },
}

/// One change of a name; the disk may see any of them, or not, until the folder is synced.
#[derive(Debug, Clone)]
struct Change {
    name: OsString,
    /// What the name comes to mean; nothing where it is removed.
    node: Option<usize>,
    /// The change in another folder without which this one is not seen: a rename never takes the
    /// old name away before the new one is there.
    after: Option<(usize, OsString)>,
}

/// When a call fails, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fault {
    /// The number of the first call that fails.
    pub(super) first: u64,
    /// The number of the first after it that does not.
    pub(super) end: u64,
    pub(super) kind: io::ErrorKind,
}

/// Everything on the disk and in memory.
#[derive(Debug, Clone)]
pub(super) struct World {
    nodes: Vec<Node>,
    clock: u64,
    calls: u64,
    fault: Option<Fault>,
}

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

/// How a crash treats what was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Nothing of it is there.
    Lost,
    /// All names are there, with all bytes.
    Kept,
    /// All names are there, with the first of their bytes.
    Halved,
    /// All names are there, with zeros for bytes.
    Zeroed,
    /// Each name and each file has a fate of its own.
    Mixed,
}

impl World {
    /// An empty disk.
    pub(super) fn new() -> Self {
        Self {
            nodes: vec![empty_folder()],
            clock: 0,
            calls: 0,
            fault: None,
        }
    }

    /// The files below the root, as a process sees them.
    pub(super) fn tree(&self) -> Tree {
        let mut tree = Tree::new();
        if let Ok(root) = self.find(Path::new(ROOT)) {
            self.add_to(&mut tree, root, &PathBuf::new());
        }
        tree
    }

    fn add_to(&self, tree: &mut Tree, node: usize, path: &Path) {
        match &self.nodes[node] {
            Node::File { content, .. } => {
                tree.insert(path.to_owned(), content.clone());
            }
            Node::Folder { entries, .. } => {
                for (name, node) in entries {
                    self.add_to(tree, *node, &path.join(name));
                }
            }
        }
    }

    /// What a disk could hold that lost its power now.
    pub(super) fn after_crash(&self, fate: Fate, random: &mut Rng) -> Self {
        let mut after = Self::new();
        let mut seen = BTreeMap::new();
        self.copy_folder(0, 0, &mut after, fate, random, &mut seen);
        after
    }

    fn copy_folder(
        &self,
        from: usize,
        to: usize,
        after: &mut Self,
        fate: Fate,
        random: &mut Rng,
        seen: &mut BTreeMap<(usize, OsString), bool>,
    ) {
        for (name, node) in self.survivors(from, fate, random, seen) {
            let copied = after.nodes.len();
            match &self.nodes[node] {
                Node::File {
                    content, durable, ..
                } => {
                    let content = survived(content, durable.as_deref(), fate, random);
                    after.nodes.push(Node::File {
                        durable: Some(content.clone()),
                        content,
                        modified: 0,
                        is_lost: false,
                    });
                }
                Node::Folder { .. } => {
                    after.nodes.push(empty_folder());
                    self.copy_folder(node, copied, after, fate, random, seen);
                }
            }
            if let Node::Folder {
                entries, durable, ..
            } = &mut after.nodes[to]
            {
                entries.insert(name.clone(), copied);
                durable.insert(name, copied);
            }
        }
    }

    /// The names of a folder that a crash leaves.
    fn survivors(
        &self,
        folder: usize,
        fate: Fate,
        random: &mut Rng,
        seen: &mut BTreeMap<(usize, OsString), bool>,
    ) -> BTreeMap<OsString, usize> {
        let Node::Folder {
            durable, pending, ..
        } = &self.nodes[folder]
        else {
            return BTreeMap::new();
        };
        let mut names = durable.clone();
        for change in pending {
            let is_possible = change.after.as_ref().is_none_or(|other| {
                self.is_durable(other) || self.decides(other, fate, random, seen)
            });
            let here = (folder, change.name.clone());
            if is_possible && self.decides(&here, fate, random, seen) {
                match change.node {
                    Some(node) => names.insert(change.name.clone(), node),
                    None => names.remove(&change.name),
                };
            }
        }
        names
    }

    fn is_durable(&self, (folder, name): &(usize, OsString)) -> bool {
        match &self.nodes[*folder] {
            Node::Folder { pending, .. } => !pending.iter().any(|change| change.name == *name),
            Node::File { .. } => false,
        }
    }

    /// Whether the disk has seen the changes of a name.
    #[expect(clippy::unused_self, reason = "reads as a question to the world")]
    fn decides(
        &self,
        name: &(usize, OsString),
        fate: Fate,
        random: &mut Rng,
        seen: &mut BTreeMap<(usize, OsString), bool>,
    ) -> bool {
        match fate {
            Fate::Lost => false,
            Fate::Kept | Fate::Halved | Fate::Zeroed => true,
            Fate::Mixed => *seen.entry(name.clone()).or_insert_with(|| random.bool()),
        }
    }

    fn find(&self, path: &Path) -> io::Result<usize> {
        let mut node = 0;
        for part in parts(path) {
            let Node::Folder { entries, .. } = &self.nodes[node] else {
                return Err(io::ErrorKind::NotADirectory.into());
            };
            node = *entries.get(part).ok_or(io::ErrorKind::NotFound)?;
        }
        Ok(node)
    }

    fn parent(&self, path: &Path) -> io::Result<(usize, OsString)> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let folder = self.find(path.parent().unwrap_or(Path::new("/")))?;
        Ok((folder, name.to_owned()))
    }

    fn change(&mut self, folder: usize, change: Change) {
        if let Node::Folder {
            entries, pending, ..
        } = &mut self.nodes[folder]
        {
            match change.node {
                Some(node) => entries.insert(change.name.clone(), node),
                None => entries.remove(&change.name),
            };
            pending.push(change);
        }
    }

    fn create(&mut self, path: &Path, node: Node) -> io::Result<usize> {
        if self.find(path).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let (folder, name) = self.parent(path)?;
        let created = self.nodes.len();
        self.nodes.push(node);
        let change = Change {
            name,
            node: Some(created),
            after: None,
        };
        self.change(folder, change);
        Ok(created)
    }

    fn found(&self, node: usize) -> Found {
        match &self.nodes[node] {
            Node::Folder { .. } => Found::Folder,
            Node::File {
                content, modified, ..
            } => Found::File(Stamp {
                inode: node as u64,
                size: content.len() as u64,
                modified: (i64::try_from(*modified).unwrap(), 0),
                changed: (0, 0),
            }),
        }
    }

    /// Counts a call, which fails if it is to.
    fn call(&mut self) -> io::Result<()> {
        self.calls += 1;
        self.clock += 1;
        match self.fault {
            Some(Fault { first, end, kind }) if (first..end).contains(&self.calls) => {
                Err(kind.into())
            }
            _ => Ok(()),
        }
    }
}

/// The bytes of a file that a crash leaves.
fn survived(content: &[u8], durable: Option<&[u8]>, fate: Fate, random: &mut Rng) -> Vec<u8> {
    if durable == Some(content) {
        return content.to_vec();
    }
    let fate = match fate {
        Fate::Mixed => [Fate::Lost, Fate::Kept, Fate::Halved, Fate::Zeroed][random.usize(..4)],
        fate => fate,
    };
    match fate {
        Fate::Lost => durable.unwrap_or_default().to_vec(),
        Fate::Kept | Fate::Mixed => content.to_vec(),
        Fate::Halved => content[..random.usize(..=content.len())].to_vec(),
        Fate::Zeroed => vec![0; content.len()],
    }
}

fn empty_folder() -> Node {
    Node::Folder {
        entries: BTreeMap::new(),
        durable: BTreeMap::new(),
        pending: Vec::new(),
    }
}

fn parts(path: &Path) -> impl Iterator<Item = &OsStr> {
    path.iter().filter(|part| *part != OsStr::new("/"))
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

    /// Changes the bytes of a file behind everybody's back, as a rotting disk does.
    pub(super) fn rot(&self, path: &Path) {
        let mut world = self.world();
        world.clock += 1;
        let (node, clock) = (world.find(path).unwrap(), world.clock);
        if let Node::File {
            content,
            durable,
            modified,
            ..
        } = &mut world.nodes[node]
        {
            content[0] ^= 1;
            *durable = Some(content.clone());
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

fn sync_folder(world: &mut World, node: usize) {
    if let Node::Folder {
        durable, pending, ..
    } = &mut world.nodes[node]
    {
        // Not the entries as they are: what an earlier sync lost stays lost.
        for Change { name, node, .. } in pending.drain(..) {
            match node {
                Some(node) => durable.insert(name, node),
                None => durable.remove(&name),
            };
        }
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

    fn into_file(self: Box<Self>) -> io::Result<File> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

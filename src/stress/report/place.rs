//! Finds out where a file name leads: to a file that may or may not exist, or to a
//! pipe or device, which has nothing to lose.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use crate::client::target::cause;

/// What a name on the command line stands for.
#[derive(Debug)]
pub struct Place {
    /// As the user wrote it.
    name: PathBuf,
    kind: Kind,
    /// Whether an existing file is overwritten.
    force: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Stdout,
    /// A regular file, by its path without links, and whether it already existed.
    File(PathBuf, bool),
    /// A pipe, a terminal, a device, or a descriptor that stands for any of these.
    Device(PathBuf),
}

impl Place {
    /// Finds out where a name leads. With `force` it may be an existing file.
    ///
    /// # Errors
    /// A sentence for the user about what cannot be written.
    pub fn new(name: &Path, force: bool) -> Result<Place, String> {
        let kind = if name == Path::new("-") || name == Path::new("/dev/stdout") {
            Kind::Stdout
        } else if name.starts_with("/dev") {
            Kind::Device(name.to_owned())
        } else {
            kind_of(name, force)?
        };
        Ok(Place { name: name.to_owned(), kind, force })
    }

    /// Whether two names lead to the same file.
    pub fn is_same(&self, other: &Place) -> bool {
        self.kind == other.kind
    }

    pub fn is_stdout(&self) -> bool {
        self.kind == Kind::Stdout
    }

    /// Whether it can be written without waiting for a reader.
    pub fn is_file(&self) -> bool {
        matches!(self.kind, Kind::File(..))
    }

    pub fn name(&self) -> String {
        self.name.display().to_string()
    }

    /// Checks that a file can be written there, and leaves nothing behind.
    ///
    /// # Errors
    /// A sentence for the user.
    pub fn probe(&self) -> Result<(), String> {
        let Kind::File(path, _) = &self.kind else { return Ok(()) };
        let part = part_of(path);
        create_part(&part)
            .and_then(|_| fs::remove_file(&part))
            .map_err(|error| cannot_write(&self.name, &error))
    }

    /// Opens a file that grows with a run.
    ///
    /// # Errors
    /// A sentence for the user.
    pub fn open(&self) -> Result<File, String> {
        let opened = match &self.kind {
            Kind::Stdout => io::stdout().as_fd().try_clone_to_owned().map(File::from),
            Kind::File(path, _) if self.force => File::create(path),
            Kind::File(path, _) => File::create_new(path),
            Kind::Device(path) => OpenOptions::new().append(true).open(path),
        };
        opened.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => exists(&self.name),
            _ => cannot_write(&self.name, &error),
        })
    }

    /// Removes a file that was opened and did not exist before.
    pub fn take_back(&self) {
        if let Kind::File(path, false) = &self.kind {
            // If it stays, the user will see it.
            let _ = fs::remove_file(path);
        }
    }

    /// Writes a whole text. A file appears with all of it or not at all, so that
    /// nobody reads half of it and a full disk leaves the old one intact.
    ///
    /// # Errors
    /// A sentence for the user.
    pub fn write(&self, text: &str) -> Result<(), String> {
        let Kind::File(path, _) = &self.kind else {
            return match self.open()?.write_all(text.as_bytes()) {
                // A reader that has closed its pipe has read all it wanted.
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                    Err(cannot_write(&self.name, &error))
                }
                _ => Ok(()),
            };
        };
        let part = part_of(path);
        let written = create_part(&part).and_then(|mut file| file.write_all(text.as_bytes()));
        // It may have been created while the run went on, and belong to somebody else.
        let written = match written {
            Ok(()) if !self.force && path.exists() => Err(exists(&self.name)),
            written => written
                .and_then(|()| fs::rename(&part, path))
                .map_err(|error| cannot_write(&self.name, &error)),
        };
        // No longer needed, whatever happened.
        let _ = fs::remove_file(&part);
        written
    }
}

/// Where a name outside of `/dev` leads.
fn kind_of(name: &Path, force: bool) -> Result<Kind, String> {
    let shown = name.display();
    match fs::metadata(name) {
        Ok(found) if found.is_dir() => Err(format!("{shown} is a folder: name a file in it")),
        Ok(found) if found.is_file() && !force => Err(exists(name)),
        Ok(found) if found.is_file() => {
            let path = fs::canonicalize(name).map_err(|error| cannot_write(name, &error))?;
            Ok(Kind::File(path, true))
        }
        Ok(_) => Ok(Kind::Device(name.to_owned())),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(cannot_write(name, &error)),
        Err(_) if fs::symlink_metadata(name).is_ok() => {
            Err(format!("{shown} is a link to a file that does not exist: name that file instead"))
        }
        Err(_) => {
            let folder = name.parent().filter(|folder| !folder.as_os_str().is_empty());
            let folder = fs::canonicalize(folder.unwrap_or(Path::new(".")))
                .map_err(|_| format!("{shown} cannot be written: its folder does not exist"))?;
            let file = name.file_name().ok_or_else(|| format!("{shown} is not the name of a file"))?;
            Ok(Kind::File(folder.join(file), false))
        }
    }
}

/// The name of a file until it is complete; its own name may already be as long
/// as names can be.
fn part_of(path: &Path) -> PathBuf {
    path.with_file_name(format!(".onepoll-{}.part", std::process::id()))
}

/// Creates a new file: one with this name is left over from a program that had
/// our process id before, or is a trap.
fn create_part(part: &Path) -> io::Result<File> {
    let _ = fs::remove_file(part);
    File::create_new(part)
}

fn exists(name: &Path) -> String {
    format!("{} exists already: choose another name, or overwrite it with --force", name.display())
}

fn cannot_write(name: &Path, error: &io::Error) -> String {
    format!("{} cannot be written: {}", name.display(), cause(error))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("onepoll-stress-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let folder = folder("whole");
        let path = folder.join("summary.json");
        let place = Place::new(&path, false).unwrap();
        place.probe().unwrap();
        place.write("first").unwrap();
        // It was created while the run went on, so it belongs to somebody else.
        assert!(place.write("second").unwrap_err().contains("--force"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "first");
        Place::new(&path, true).unwrap().write("second").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "second");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "nothing else is left");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_link_is_followed_and_stays() {
        let folder = folder("links");
        let [file, link, dangling] = ["file", "link", "dangling"].map(|name| folder.join(name));
        fs::write(&file, "old").unwrap();
        symlink("file", &link).unwrap();
        symlink("nothing", &dangling).unwrap();
        assert!(Place::new(&link, false).unwrap_err().contains("--force"));
        let place = Place::new(&link, true).unwrap();
        assert!(place.is_same(&Place::new(&file, true).unwrap()));
        place.write("new").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        for force in [false, true] {
            assert!(
                Place::new(&dangling, force).unwrap_err().contains("is a link to a file that does not exist")
            );
        }
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_file_is_known_by_any_of_its_names() {
        let folder = folder("names");
        let [file, other] = ["file", "other"].map(|name| folder.join(name));
        let same = |a: &Path, b: &Path| Place::new(a, true).unwrap().is_same(&Place::new(b, true).unwrap());
        assert!(same(&file, &folder.join("./file")));
        assert!(!same(&file, &other));
        assert!(same(Path::new("-"), Path::new("/dev/stdout")));
        assert!(!same(Path::new("-"), Path::new("/dev/stderr")));
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn what_cannot_be_written_is_known_before() {
        let place = |name: &str| Place::new(Path::new(name), false).and_then(|place| place.probe());
        assert!(place("/proc/self/summary.json").unwrap_err().contains("cannot be written"));
        assert!(place(&"n".repeat(300)).unwrap_err().contains("too long"));
        assert!(place("/no/such/folder/file").unwrap_err().contains("folder does not exist"));
        assert!(place("/").unwrap_err().contains("is a folder"));
        let folder = folder("long");
        let longest = folder.join("n".repeat(255));
        Place::new(&longest, false).unwrap().write("text").unwrap();
        assert!(longest.exists());
        fs::remove_dir_all(&folder).unwrap();
    }
}

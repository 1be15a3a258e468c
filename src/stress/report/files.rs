//! The files that a run writes. None that exists is overwritten unless asked to;
//! what is no regular file (a pipe, a terminal, a device) has nothing to lose.
//! `-` is standard output, for one of them.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use clap::Args;

use super::Reporter;
use crate::output;

/// Where to write what.
#[derive(Debug, Args)]
pub struct Files {
    /// Write the summary there, as JSON (docs/stress.md tells its fields); - is
    /// standard output, for any of these four
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write one line of JSON there for each interval
    #[arg(long, value_name = "FILE")]
    ndjson: Option<PathBuf>,
    /// Write an HdrHistogram interval log there
    #[arg(long, value_name = "FILE")]
    hdr: Option<PathBuf>,
    /// Write a page there with the latency curve and the rate over time
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// Overwrite these files if they exist
    #[arg(long)]
    force: bool,
}

impl Files {
    /// Checks that all can be written, before anything is measured, and opens
    /// those that are written on the way.
    ///
    /// # Errors
    /// A sentence for the user.
    pub fn open(&self) -> Result<Reporter, String> {
        let all: Vec<&Path> = self.all().collect();
        if all.iter().filter(|path| is_stdout(path)).count() > 1 {
            return Err("only one file can go to standard output: give the others names".into());
        }
        for (number, path) in all.iter().enumerate() {
            if all[..number].contains(path) {
                return Err(format!(
                    "{} is to be written twice: give each file a name of its own",
                    path.display()
                ));
            }
            if is_stdout(path) {
                continue;
            }
            match fs::metadata(path) {
                Ok(found) if found.is_dir() => {
                    return Err(format!("{} is a folder: name a file in it", path.display()));
                }
                Ok(found) if found.is_file() && !self.force => return Err(exists(path)),
                _ => {}
            }
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            if folder.is_some_and(|folder| !folder.is_dir()) {
                return Err(format!("{} cannot be written: its folder does not exist", path.display()));
            }
        }
        let open = |path: &Option<PathBuf>| path.as_deref().map(|path| self.create(path)).transpose();
        Ok(Reporter::new(open(&self.ndjson)?, open(&self.hdr)?))
    }

    fn all(&self) -> impl Iterator<Item = &Path> {
        [&self.json, &self.ndjson, &self.hdr, &self.report].into_iter().flatten().map(PathBuf::as_path)
    }

    /// Whether standard output is for one of the files, and for nothing else.
    pub fn take_stdout(&self) -> bool {
        self.all().any(is_stdout)
    }

    /// Removes the files that were opened for a run which measured nothing, so
    /// that they are not in the way of the next try. With `--force` nothing is.
    pub fn take_back(&self) {
        if !self.force {
            for path in [&self.ndjson, &self.hdr].into_iter().flatten() {
                if !is_stdout(path) && path.is_file() {
                    // Whatever is left tells the user itself.
                    let _ = fs::remove_file(path);
                }
            }
        }
    }

    /// Writes the JSON file, if it is asked for.
    pub fn write_json(&self, make: impl FnOnce() -> Result<String, String>) -> Result<(), String> {
        self.write(self.json.as_deref(), make)
    }

    /// Writes the page, if it is asked for.
    pub fn write_report(&self, make: impl FnOnce() -> Result<String, String>) -> Result<(), String> {
        self.write(self.report.as_deref(), make)
    }

    fn write(
        &self,
        path: Option<&Path>,
        make: impl FnOnce() -> Result<String, String>,
    ) -> Result<(), String> {
        let Some(path) = path else { return Ok(()) };
        let text = make()?;
        if is_stdout(path) {
            return output::print(&text).map_err(|error| cannot_write(path, &error));
        }
        if path.exists() && !path.is_file() {
            // A pipe, or a device, has no other name.
            return fs::write(path, text).map_err(|error| cannot_write(path, &error));
        }
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{}.part", std::process::id()));
        let part = PathBuf::from(name);
        let written = fs::write(&part, text)
            .map_err(|error| cannot_write(path, &error))
            .and_then(|()| self.give_name(&part, path));
        // Of no use any more, whichever way it went.
        let _ = fs::remove_file(&part);
        written
    }

    /// Lets a file that is written to its end appear under its name, so that
    /// nobody reads half of it, and a full disk leaves the old one as it was.
    fn give_name(&self, part: &Path, path: &Path) -> Result<(), String> {
        if self.force {
            return fs::rename(part, path).map_err(|error| cannot_write(path, &error));
        }
        match fs::hard_link(part, path) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(exists(path)),
            // Not every file system has links. The name was free a moment ago.
            Err(_) if path.exists() => Err(exists(path)),
            Err(_) => fs::rename(part, path).map_err(|error| cannot_write(path, &error)),
        }
    }

    fn create(&self, path: &Path) -> Result<File, String> {
        if is_stdout(path) {
            let stdout = io::stdout().as_fd().try_clone_to_owned();
            return stdout.map(File::from).map_err(|error| cannot_write(path, &error));
        }
        let mut options = OpenOptions::new();
        if path.exists() && !path.is_file() {
            &mut options
        } else if self.force {
            options.create(true).truncate(true)
        } else {
            options.create_new(true)
        };
        options.write(true).open(path).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => exists(path),
            _ => cannot_write(path, &error),
        })
    }
}

/// Whether a file's name stands for standard output.
fn is_stdout(path: &Path) -> bool {
    path == Path::new("-") || path == Path::new("/dev/stdout")
}

fn exists(path: &Path) -> String {
    format!("{} exists already: choose another name, or overwrite it with --force", path.display())
}

fn cannot_write(path: &Path, error: &io::Error) -> String {
    format!("{} cannot be written: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_file_is_neither_refused_nor_removed() {
        let device = Some(PathBuf::from("/dev/null"));
        let mut files = Files { json: device.clone(), ndjson: None, hdr: None, report: None, force: false };
        assert!(files.open().is_ok() && !files.take_stdout());
        files.write_json(|| Ok("text".into())).unwrap();
        (files.json, files.hdr) = (None, device);
        assert!(files.open().is_ok());
        files.take_back();
        assert!(Path::new("/dev/null").exists());
        files.hdr = Some(std::env::temp_dir());
        assert!(files.open().is_err_and(|why| why.contains("is a folder")));
        (files.json, files.hdr) = (Some("-".into()), Some("/dev/stdout".into()));
        assert!(files.open().is_err_and(|why| why.contains("only one file")));
    }

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let folder = std::env::temp_dir().join(format!("onepoll-stress-files-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("summary.json");
        let mut files =
            Files { json: Some(path.clone()), ndjson: None, hdr: None, report: None, force: false };
        files.write_json(|| Ok("first".into())).unwrap();
        // It came into being while the run went on: it is somebody else's.
        assert!(files.write_json(|| Ok("second".into())).unwrap_err().contains("--force"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "first");
        files.force = true;
        assert!(files.write_json(|| Err("no".into())).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "first");
        files.write_json(|| Ok("second".into())).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "second");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "nothing else is left");
        fs::remove_dir_all(&folder).unwrap();
    }
}

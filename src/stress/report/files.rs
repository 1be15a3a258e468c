//! The files that a run writes. None that exists is overwritten unless asked to.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;

use super::Reporter;

/// Where to write what.
#[derive(Debug, Args)]
pub struct Files {
    /// Write the summary there, as JSON (docs/stress.md tells its fields)
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
        let all: Vec<&Path> = [&self.json, &self.ndjson, &self.hdr, &self.report]
            .into_iter()
            .flatten()
            .map(PathBuf::as_path)
            .collect();
        for (number, path) in all.iter().enumerate() {
            if all[..number].contains(path) {
                return Err(format!(
                    "{} is to be written twice: give each file a name of its own",
                    path.display()
                ));
            }
            if path.exists() && !self.force {
                return Err(exists(path));
            }
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            if folder.is_some_and(|folder| !folder.is_dir()) {
                return Err(format!("{} cannot be written: its folder does not exist", path.display()));
            }
        }
        let open = |path: &Option<PathBuf>| path.as_deref().map(|path| self.create(path)).transpose();
        Ok(Reporter::new(open(&self.ndjson)?, open(&self.hdr)?))
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
        let mut file = self.create(path)?;
        file.write_all(text.as_bytes()).map_err(|error| cannot_write(path, &error))
    }

    fn create(&self, path: &Path) -> Result<File, String> {
        let mut options = OpenOptions::new();
        if self.force {
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

fn exists(path: &Path) -> String {
    format!("{} exists already: choose another name, or overwrite it with --force", path.display())
}

fn cannot_write(path: &Path, error: &io::Error) -> String {
    format!("{} cannot be written: {error}", path.display())
}

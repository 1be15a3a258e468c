//! The keys of services that hand out or take files: where the files are, and how much of
//! them there may be.
//!
//! A service lists the keys in its description, and asks for its [`root`] in its plan:
//!
//! ```
//! use onepoll::config::{Key, Plan, Settings, files};
//!
//! const KEYS: &[Key] = &[
//!     files::ROOT,
//!     files::WRITABLE,
//!     files::MAX_FILE_SIZE,
//!     files::MAX_TOTAL_SIZE,
//!     files::MAX_FILES,
//! ];
//! fn plan(settings: &mut Settings<'_>) -> Plan {
//!     let root = files::root(settings, &files::WRITABLE);
//!     # let _ = root;
//!     # todo!()
//! }
//! ```

use super::values::{self, Read, Toml};
use super::{Key, Settings, Value};
use crate::files::{Policy, Root};

/// Where the files are.
pub const ROOT: Key = Key {
    name: "root",
    value: Value::Default("\"onepoll-files\""),
    about: "The folder of its files, relative to the folder of this file. If it is missing, it is \
            created, with a welcome.txt in it. Services may share one.",
};

/// Whether clients may store files, for a service that lets them.
pub const WRITABLE: Key =
    Key { name: "writable", value: Value::Default("true"), about: "Whether clients may store files." };

/// Whether clients may store files, for a service that asks nobody who they are.
pub const NOT_WRITABLE: Key = Key { value: Value::Default("false"), ..WRITABLE };

/// The most bytes of one file.
pub const MAX_FILE_SIZE: Key = Key {
    name: "max_file_size",
    value: Value::Default("\"1 GiB\""),
    about: "The most that a client may store in one file; 0 means no limit, here and below.",
};

/// The most bytes of all files.
pub const MAX_TOTAL_SIZE: Key = Key {
    name: "max_total_size",
    value: Value::Default("\"10 GiB\""),
    about: "Uploads are refused that would make all files in the folder larger than this.",
};

/// The most files.
pub const MAX_FILES: Key = Key {
    name: "max_files",
    value: Value::Default("10000"),
    about: "Uploads are refused once there are so many files in the folder.",
};

/// The root of a service that stores files by itself, whatever clients may do.
pub fn root_to_write(settings: &mut Settings<'_>) -> Root {
    let policy = Policy { writable: true, ..limits(settings) };
    let path = settings.get(&ROOT, folder);
    settings.roots.root(&settings.folder.join(path), policy)
}

/// The root of a service, as its keys say; `writable` is [`WRITABLE`] or [`NOT_WRITABLE`].
/// Nothing is opened yet.
pub fn root(settings: &mut Settings<'_>, writable: &Key) -> Root {
    let policy = Policy { writable: settings.get(writable, values::flag), ..limits(settings) };
    let path = settings.get(&ROOT, folder);
    settings.roots.root(&settings.folder.join(path), policy)
}

/// The root of a service that only hands files out: of the keys it has [`ROOT`] alone.
pub fn read_only_root(settings: &mut Settings<'_>) -> Root {
    let path = settings.get(&ROOT, folder);
    settings.roots.root(&settings.folder.join(path), Policy { writable: false, ..Policy::default() })
}

fn limits(settings: &mut Settings<'_>) -> Policy {
    let or_none = |limit: usize| if limit == 0 { u64::MAX } else { limit as u64 };
    Policy {
        writable: false,
        max_file_size: or_none(settings.get(&MAX_FILE_SIZE, values::size)),
        max_total_size: or_none(settings.get(&MAX_TOTAL_SIZE, values::size)),
        max_files: or_none(settings.get(&MAX_FILES, values::count)),
    }
}

fn folder(value: &Toml<'_>) -> Read<String> {
    let path = values::text(value)?;
    if path.trim().is_empty() || path.contains('\0') {
        return Err(format!("{path:?} is not a folder; write a path such as \"files\" or \"/srv/files\""));
    }
    if path == "~" || path.starts_with("~/") {
        return Err(format!("{path:?} begins with ~, which only a shell replaces; write the path in full"));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Description, Overrides, Plan};
    use crate::disk::{Disk, simulated};
    use crate::files::clean;
    use crate::service::Service;
    use std::cell::Cell;
    use std::path::Path;

    thread_local! {
        static PLANNED: Cell<Option<Root>> = const { Cell::new(None) };
    }

    #[derive(Debug)]
    struct Holder;

    impl Service for Holder {
        type Session = ();
    }

    fn plan(settings: &mut Settings<'_>) -> Plan {
        PLANNED.set(Some(root(settings, &WRITABLE)));
        settings.listen(Holder)
    }

    static HOLDER: Description = Description {
        name: "holder",
        about: "holds files",
        notes: "",
        tcp: Some(2600),
        udp: None,
        keys: &[ROOT, WRITABLE, MAX_FILE_SIZE, MAX_TOTAL_SIZE, MAX_FILES],
        plan,
    };

    /// The root of a service with these lines in a file.
    fn root_of(lines: &str, file: &str) -> Result<Root, String> {
        let text = format!("[services.holder]\ntcp = 2600\n{lines}\n");
        let disk = Disk::Simulated(simulated::Disk::new(1));
        let overrides = Overrides { disk, ..Overrides::default() };
        let config = Config::parse(&[&HOLDER], &text, Path::new(file), &overrides);
        config.map(|_| PLANNED.take().unwrap()).map_err(|errors| errors.to_string())
    }

    #[test]
    fn a_root_is_relative_to_the_folder_of_the_config_file() {
        for (lines, file, path) in [
            ("", "/etc/lab/lab.toml", "/etc/lab/onepoll-files"),
            ("", "lab.toml", "onepoll-files"),
            ("root = \"과제\"", "lab/lab.toml", "lab/과제"),
            ("root = \"/srv/files\"", "/etc/lab.toml", "/srv/files"),
        ] {
            assert_eq!(root_of(lines, file).unwrap().path(), Path::new(path));
        }
    }

    #[test]
    fn limits_are_read_and_0_means_none() {
        assert_eq!(*root_of("", "lab.toml").unwrap().policy(), Policy::default());
        let root = root_of("writable = false\nmax_file_size = \"3 B\"\nmax_files = 0", "lab.toml").unwrap();
        let defaults = Policy::default();
        let expected = Policy { writable: false, max_file_size: 3, max_files: u64::MAX, ..defaults };
        assert_eq!(*root.policy(), expected);
    }

    #[test]
    fn what_is_no_folder_is_refused() {
        for root in ["", " ", "~/files", "~"] {
            let error = root_of(&format!("root = {root:?}"), "lab.toml").unwrap_err();
            assert!(error.starts_with("lab.toml:3:8: root: "), "{error}");
        }
    }

    #[test]
    fn services_that_name_one_folder_share_it() {
        let disk = simulated::Disk::new(1);
        let roots = crate::files::Roots::on(Disk::Simulated(disk));
        let policy = Policy { max_files: 2, ..Policy::default() };
        let (one, other) = (roots.root(Path::new("a"), policy), roots.root(Path::new("a"), policy));
        let first = one.begin(&clean("1").unwrap(), None).unwrap();
        // The welcome and the upload in flight are two.
        assert!(other.begin(&clean("2").unwrap(), None).is_err());
        drop(first);
        assert!(other.begin(&clean("2").unwrap(), None).is_ok());
    }
}

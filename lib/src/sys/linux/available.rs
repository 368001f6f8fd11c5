//! How much memory this process may still take: what the machine has, and what each of
//! its control groups allows, up to the outermost that can be seen.

use std::path::Path;

/// Where control groups are shown.
const GROUPS: &str = "/sys/fs/cgroup";

/// The least of all; `None` if nothing is known (no `/proc`, for instance).
pub(crate) fn available_memory() -> Option<u64> {
    let machine = std::fs::read_to_string("/proc/meminfo").ok();
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok();
    let machine = machine.and_then(|text| machine_available(&text));
    let group = groups.and_then(|text| groups_allow(&text, Path::new(GROUPS)));
    machine.into_iter().chain(group).min()
}

/// `MemAvailable` of `/proc/meminfo`.
fn machine_available(text: &str) -> Option<u64> {
    let mut lines = text.lines();
    let line = lines.find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// What the files of a control group are called.
struct Version {
    limit: &'static str,
    used: &'static str,
    /// In `memory.stat`: cached files, which count as used but make room when asked to.
    cached: [&'static str; 2],
}

const FIRST: Version = Version {
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    cached: ["total_active_file", "total_inactive_file"],
};

const SECOND: Version = Version {
    limit: "memory.max",
    used: "memory.current",
    cached: ["active_file", "inactive_file"],
};

/// The first version shows a group without a limit with one that no machine has.
const NO_LIMIT: u64 = 1 << 62;

/// What the groups in `/proc/self/cgroup`'s `text` allow, which are shown below `root`.
fn groups_allow(text: &str, root: &Path) -> Option<u64> {
    text.lines()
        .filter_map(|line| {
            // Number of the hierarchy, its controllers, the path in it: cgroups(7).
            let mut fields = line.splitn(3, ':');
            let (number, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
            let path = path.trim_start_matches('/');
            if number == "0" && controllers.is_empty() {
                least_upwards(root, path, &SECOND)
            } else if controllers
                .split(',')
                .any(|controller| controller == "memory")
            {
                least_upwards(&root.join("memory"), path, &FIRST)
            } else {
                None
            }
        })
        .min()
}

/// The least that the group at `path` below `top`, or one around it, allows.
///
/// In a container, the path may be that of the machine, of which only the top is shown
/// here: then it is the top that counts.
fn least_upwards(top: &Path, path: &str, version: &Version) -> Option<u64> {
    let ancestors = Path::new(path).ancestors();
    ancestors
        .filter_map(|path| group_allows(&top.join(path), version))
        .min()
}

/// `None` where there is no group, or no limit.
fn group_allows(directory: &Path, version: &Version) -> Option<u64> {
    let read = |file: &str| std::fs::read_to_string(directory.join(file)).ok();
    let number = |file: &str| read(file)?.trim().parse::<u64>().ok();
    // Looking further takes as long as setting up a small pool.
    let limit = number(version.limit).filter(|&limit| limit < NO_LIMIT)?;
    let stat = read("memory.stat").unwrap_or_default();
    let cached = stat.lines().filter_map(|line| {
        let (key, value) = line.split_once(' ')?;
        value
            .parse::<u64>()
            .ok()
            .filter(|_| version.cached.contains(&key))
    });
    let used = number(version.used)?.saturating_sub(cached.sum());
    Some(limit.saturating_sub(used))
}

#[cfg(all(test, not(loom)))]
#[allow(
    clippy::unwrap_used,
    reason = "a test says what it expects by unwrapping it"
)]
mod tests {
    use super::*;

    /// A tree of groups as the system shows it: each a directory with its files.
    fn tree(groups: &[(&str, &[(&str, &str)])]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (group, files) in groups {
            let directory = root.path().join(group);
            std::fs::create_dir_all(&directory).unwrap();
            for (file, text) in *files {
                std::fs::write(directory.join(file), text).unwrap();
            }
        }
        root
    }

    #[test]
    fn the_machines_memory_is_what_is_available_and_not_what_is_free() {
        let text = "MemTotal:  100 kB\nMemFree: 1 kB\nMemAvailable:     42 kB\n";
        assert_eq!(machine_available(text), Some(42 * 1024));
        assert_eq!(machine_available("MemTotal: 100 kB\n"), None);
    }

    #[test]
    fn the_narrowest_group_on_the_way_up_counts_and_cached_files_make_room() {
        let root = tree(&[
            ("", &[("memory.stat", "anon 7\n")]),
            (
                "a",
                &[
                    ("memory.max", "1000\n"),
                    ("memory.current", "700\n"),
                    ("memory.stat", "anon 1\nactive_file 100\ninactive_file 50\n"),
                ],
            ),
            (
                "a/b",
                &[("memory.max", "max\n"), ("memory.current", "600\n")],
            ),
            (
                "a/b/c",
                &[("memory.max", "5000\n"), ("memory.current", "10\n")],
            ),
        ]);
        assert_eq!(groups_allow("0::/a/b/c\n", root.path()), Some(450));
        assert_eq!(groups_allow("0::/\n", root.path()), None);
        // More in use than allowed, as right after the limit was lowered.
        std::fs::write(root.path().join("a/b/memory.max"), "500\n").unwrap();
        assert_eq!(groups_allow("0::/a/b/c\n", root.path()), Some(0));
    }

    #[test]
    fn groups_of_the_first_version_count_too_and_so_do_those_around_them() {
        let root = tree(&[
            (
                "memory/docker",
                &[
                    ("memory.limit_in_bytes", "800\n"),
                    ("memory.usage_in_bytes", "500\n"),
                    ("memory.stat", "active_file 400\ntotal_active_file 30\n"),
                ],
            ),
            (
                "memory/docker/x",
                &[
                    ("memory.limit_in_bytes", "9223372036854771712\n"),
                    ("memory.usage_in_bytes", "100\n"),
                ],
            ),
        ]);
        let text = "12:cpu,cpuacct:/y\n9:hugetlb,memory:/docker/x\n0::/docker/x\n";
        assert_eq!(groups_allow(text, root.path()), Some(330));
    }

    #[test]
    fn where_only_the_containers_own_group_is_shown_it_counts() {
        let root = tree(&[(
            "memory",
            &[
                ("memory.limit_in_bytes", "800\n"),
                ("memory.usage_in_bytes", "500\n"),
            ],
        )]);
        let text = "9:memory:/docker/0123456789\n";
        assert_eq!(groups_allow(text, root.path()), Some(300));
    }
}

//! Resources of the machine: memory, limited by control groups, free disk space, random numbers.

use std::hash::{BuildHasher, Hasher};
use std::io;
use std::path::{Component, Path, PathBuf};

/// Physical memory, or the lowest limit of the process's control groups where that is smaller.
pub(crate) fn memory_bytes() -> Result<u64, sysinfo::Error> {
    let mut system = sysinfo::System::new()?;
    system.refresh_memory();
    let physical = system.total_memory();
    Ok(group_limit(Path::new("/")).map_or(physical, |limit| limit.min(physical)))
}

/// Memory that is available now without swapping, and within the limit of the process's control groups.
pub(crate) fn free_memory_bytes() -> Result<u64, sysinfo::Error> {
    let mut system = sysinfo::System::new()?;
    system.refresh_memory();
    Ok(group_limit(Path::new("/")).map_or(system.available_memory(), |limit| limit.min(system.available_memory())))
}

/// The share of all memory that is available now.
pub(crate) fn free_memory_share() -> Result<f64, sysinfo::Error> {
    Ok(free_memory_bytes()? as f64 / memory_bytes()?.max(1) as f64)
}

/// The lowest memory limit of the process's own control group and its ancestors, from the file system at `root`.
///
/// sysinfo reads only the root group. In a container that is the group of the container, but the groups of a service
/// or a job are missed.
fn group_limit(root: &Path) -> Option<u64> {
    let groups = std::fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    groups.lines().filter_map(|line| line_limit(root, line)).min()
}

/// The limit for one line of `/proc/self/cgroup`: `hierarchy:controllers:group`, without controllers in version 2.
fn line_limit(root: &Path, line: &str) -> Option<u64> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (controllers, group) = (fields.next()?, fields.next()?);
    let (mounts, file) = if controllers.is_empty() {
        (&["sys/fs/cgroup", "sys/fs/cgroup/unified"][..], "memory.max")
    } else if controllers.split(',').any(|controller| controller == "memory") {
        (&["sys/fs/cgroup/memory"][..], "memory.limit_in_bytes")
    } else {
        return None;
    };
    mounts.iter().filter_map(|mount| least_limit(&root.join(mount), group, file)).min()
}

/// The lowest limit on the path from the root of a hierarchy down to a group. Missing folders are skipped: a
/// container shows its own group as the root but may name it by its outside path. A group without the memory
/// controller is bound by its ancestors.
fn least_limit(mount: &Path, group: &str, file: &str) -> Option<u64> {
    let names = Path::new(group).components().filter(|part| !matches!(part, Component::RootDir));
    let mut folder = mount.to_path_buf();
    let mut least = limit_in(&folder.join(file));
    for name in names {
        // ".." marks a group outside the root of the process, which is not visible from here.
        let Component::Normal(name) = name else { break };
        folder.push(name);
        least = least.into_iter().chain(limit_in(&folder.join(file))).min();
    }
    least
}

/// A limit file holds a number of bytes or "max". Version 1 writes "no limit" as a number larger than any memory.
fn limit_in(file: &Path) -> Option<u64> {
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// Bytes that a user may still write to the disk of `path`, which need not exist yet.
pub(crate) fn free_bytes(path: &Path) -> io::Result<u64> {
    let path = if path.is_absolute() { path.to_path_buf() } else { Path::new(".").join(path) };
    fs4::available_space(nearest_existing(&path))
}

/// A number that nobody can guess: the standard library seeds its hash maps from the system's random numbers.
pub(crate) fn random() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}

fn nearest_existing(path: &Path) -> PathBuf {
    path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(path).to_path_buf()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A file system in which the process belongs to `groups` and limits are as given.
    fn limit(groups: &str, limits: &[(&str, &str)]) -> Option<u64> {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("proc/self/cgroup", groups);
        limits.iter().for_each(|(path, text)| write(&format!("sys/fs/cgroup/{path}"), text));
        group_limit(root.path())
    }

    #[test]
    fn a_container_sees_its_own_limit_as_the_root() {
        assert_eq!(limit("0::/\n", &[("memory.max", "1073741824\n")]), Some(1 << 30));
        assert_eq!(limit("0::/\n", &[("memory.max", "max\n")]), None);
        // Without its own namespace, the process gets a group name that is not visible to it.
        assert_eq!(limit("0::/docker/abc\n", &[("memory.max", "4096\n")]), Some(4096));
        let v1 = "9:cpu:/docker/abc\n4:memory:/docker/abc\n0::/docker/abc\n";
        assert_eq!(limit(v1, &[("memory/memory.limit_in_bytes", "8192\n")]), Some(8192));
    }

    #[test]
    fn nested_groups_are_bound_by_all_around_them() {
        let nested = "0::/system.slice/fuse.service\n";
        let around = ("system.slice/memory.max", "5000\n");
        let service = |text| ("system.slice/fuse.service/memory.max", text);
        assert_eq!(limit(nested, &[around, service("max\n")]), Some(5000));
        assert_eq!(limit(nested, &[around, service("3000\n")]), Some(3000));
        assert_eq!(limit(nested, &[around, service("7000\n")]), Some(5000));
        // The controller may not reach down to the group.
        assert_eq!(limit(nested, &[around, ("system.slice/fuse.service/cgroup.procs", "1\n")]), Some(5000));
        // Another group's limit is none of ours.
        assert_eq!(limit(nested, &[("system.slice/other.service/memory.max", "1\n")]), None);
    }

    #[test]
    fn version_1_and_both_at_once() {
        let both = "12:hugetlb,memory:/job/7\n1:name=systemd:/x\n0::/job\n";
        let job = ("memory/job/7/memory.limit_in_bytes", "6000\n");
        let none = ("memory/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(limit(both, &[none]), Some(9_223_372_036_854_771_712));
        assert_eq!(limit(both, &[none, job]), Some(6000));
        assert_eq!(limit(both, &[none, job, ("unified/job/memory.max", "2000\n")]), Some(2000));
    }

    #[test]
    fn what_cannot_be_understood_limits_nothing() {
        assert_eq!(limit("", &[("memory.max", "1\n")]), None);
        assert_eq!(limit("nonsense\n4:memory\n", &[("memory.max", "1\n")]), None);
        // A group outside the process's root.
        assert_eq!(limit("0::/../other\n", &[("memory.max", "max\n"), ("other/memory.max", "1\n")]), None);
        assert_eq!(group_limit(Path::new("/nowhere")), None);
        assert!(memory_bytes().unwrap() > 0);
    }

    #[test]
    fn room_is_that_of_the_nearest_folder() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(nearest_existing(&folder.path().join("a/b.zarr")), folder.path());
        assert!(free_bytes(&folder.path().join("a/b.zarr")).unwrap() > 0);
        assert!(free_bytes(Path::new("fused.zarr")).unwrap() > 0);
        assert!(free_bytes(Path::new("")).unwrap() > 0);
    }
}

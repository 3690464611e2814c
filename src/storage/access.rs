//! How a place is reached: settings of a server, and how long runs wait for it.

use std::fmt;
use std::time::Duration;

/// How a place is reached.
#[derive(Clone)]
pub(super) struct Access {
    /// How long a request that fails is repeated.
    pub(super) retry: Duration,
    /// How long a lease holds without being renewed.
    pub(super) lease: Duration,
    /// Settings by name, in place of those of the environment.
    pub(super) settings: Vec<(String, String)>,
}

impl Default for Access {
    fn default() -> Self {
        Self { retry: Duration::from_mins(2), lease: Duration::from_secs(30), settings: Vec::new() }
    }
}

/// Without values, which may be secret.
impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.settings.iter().map(|(name, _)| name.as_str()).collect();
        let Self { retry, lease, .. } = self;
        f.debug_struct("Access").field("retry", retry).field("lease", lease).field("settings", &names).finish()
    }
}

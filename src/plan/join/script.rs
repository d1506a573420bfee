//! The programs that run on the machines: constant texts, started as `sh -c TEXT NAME ARGUMENTS`.
//!
//! Values never become part of a text; they are positional parameters or standard input. All are POSIX sh and need only
//! what every node has; each prints `key=value` lines or nothing. Paths and commands are those of Proxmox VE 8 and 9.

/// A program for a node or a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Script {
    /// What it is called in process lists and logs.
    pub name: &'static str,
    /// The program.
    pub text: &'static str,
}

macro_rules! scripts {
    ($($(#[$doc:meta])* $constant:ident = $name:literal;)*) => {
        $($(#[$doc])* pub const $constant: Script = Script {
            name: concat!("ironhatch-", $name),
            text: include_str!(concat!("script/", $name, ".sh")),
        };)*
        /// All of them.
        pub const ALL: &[Script] = &[$($constant),*];
    };
}

scripts! {
    /// Looks at the fresh node. `$1`: its name.
    LOOK_NODE = "look-node";
    /// Looks at the cluster through the member.
    LOOK_MEMBER = "look-member";
    /// Looks at the cluster through the new member. `$1`: its name.
    LOOK_MEMBERSHIP = "look-membership";
    /// Makes our login survive the join. `$1`: base64 body of the key, standard input: its line.
    OWN_KEY = "own-key";
    /// Puts lines into the cluster's shared authorized_keys. `$1`: node whose stale keys go, or empty; standard input: lines.
    SHARED_KEYS = "shared-keys";
    /// Writes known hosts and tries a login. `$1`: the member's address, standard input: the lines.
    KNOWN_HOSTS = "known-hosts";
    /// Starts the detached command. `$1` add or create, `$2` member address or cluster name, `$3` own address.
    START = "start";
    /// The state of the detached command.
    POLL = "poll";
    /// Ends the detached command.
    STOP = "stop";
    /// [`Repair::StartFileSystem`](super::Repair::StartFileSystem).
    START_FILE_SYSTEM = "start-file-system";
    /// [`Repair::StandAlone`](super::Repair::StandAlone).
    STAND_ALONE = "stand-alone";
    /// [`Repair::DropKeyFile`](super::Repair::DropKeyFile).
    DROP_KEY_FILE = "drop-key-file";
    /// [`Repair::FinishMember`](super::Repair::FinishMember).
    FINISH_MEMBER = "finish-member";
    /// Removes the ephemeral key. `$1`: base64 body, `$2`: node or member.
    CLEAN_UP = "clean-up";
    /// Counts the ephemeral key. `$1`: base64 body, `$2`: node or member.
    CHECK = "check";
    /// Runs a command on the node from the member. `$1`: address, `$2`: known hosts, `$3`: rendered command.
    HOP = "hop";
}

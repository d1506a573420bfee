//! The programs that run on the node: constant texts, started as `sh -c TEXT NAME ARGUMENTS`. Values are positional
//! parameters or standard input, never part of a text.

use crate::plan::join::script::Script;

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
    /// Looks at the node. `$1`: path of the agent's program.
    LOOK = "enroll-look";
    /// Puts a program in its place. `$1`: path, `$2`: SHA-256 in hex; standard input: its bytes.
    INSTALL = "enroll-install";
    /// Replaces the lines with a comment in the cluster's shared authorized_keys. `$1`: the comment; standard input: the
    /// new line, or nothing to remove it.
    KEY = "enroll-key";
    /// Prints host keys and the fingerprint of the API's certificate.
    IDENTITY = "enroll-identity";
    /// Removes the key that a pasted command let in. `$1`: its comment.
    FORGET = "enroll-forget";
    /// Removes the agent's program. `$1`: its path.
    REMOVE = "enroll-remove";
}

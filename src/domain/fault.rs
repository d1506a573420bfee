//! What to do with an error, whichever outward connection it came from.

/// Three classes, decided where the error is made; a retry looks at the class, never at the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// The other side refuses or is not who it should be; trying again changes nothing.
    Denied,
    /// The network or the machine was not ready; try again later.
    Transient,
    /// Something that should not happen.
    Broken,
}

//! Answers and the server types that they are made of.

use super::Answer;
use crate::domain::id::{HostId, ImageId};
use crate::jobs::{AnswerPreview, Engine};

/// What an operator can look at and change about answers. Each method is the [`Engine`]'s of the same name.
pub trait TypeOperations: Send + Sync {
    /// What a host would be sent.
    fn preview_answer(&self, host: HostId, image: Option<ImageId>) -> Answer<'_, AnswerPreview>;
}

impl TypeOperations for Engine {
    fn preview_answer(&self, host: HostId, image: Option<ImageId>) -> Answer<'_, AnswerPreview> {
        Box::pin(self.preview_answer(host, image))
    }
}

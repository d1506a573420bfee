//! Answers and the server types that they are made of.

use futures_util::future::BoxFuture;

use super::Answer;
use crate::domain::id::{HostId, ImageId, ServerTypeName};
use crate::jobs::{AnswerPreview, Engine, TypeFile, TypeOverview, TypeTrial, Unsaved};

/// What an operator can look at and change about answers. Each method is the [`Engine`]'s of the same name.
pub trait TypeOperations: Send + Sync {
    /// What a host would be sent.
    fn preview_answer(&self, host: HostId, image: Option<ImageId>) -> Answer<'_, AnswerPreview>;
    /// All server types.
    fn list_types(&self) -> Answer<'_, TypeOverview>;
    /// One server type with its file.
    fn read_type(&self, name: ServerTypeName) -> Answer<'_, TypeFile>;
    /// What a text would do as the file of a type.
    fn try_type(
        &self,
        name: ServerTypeName,
        text: String,
        host: Option<HostId>,
    ) -> Answer<'_, TypeTrial>;
    /// Puts a text in place as the file of a type.
    fn save_type(
        &self,
        name: ServerTypeName,
        text: String,
        replaces: Option<String>,
    ) -> BoxFuture<'_, Result<TypeFile, Unsaved>>;
    /// Removes the file of a type that no host has.
    fn delete_type(&self, name: ServerTypeName, hash: Option<String>) -> Answer<'_, ()>;
}

impl TypeOperations for Engine {
    fn preview_answer(&self, host: HostId, image: Option<ImageId>) -> Answer<'_, AnswerPreview> {
        Box::pin(self.preview_answer(host, image))
    }
    fn list_types(&self) -> Answer<'_, TypeOverview> {
        Box::pin(self.list_types())
    }
    fn read_type(&self, name: ServerTypeName) -> Answer<'_, TypeFile> {
        Box::pin(self.read_type(name))
    }
    fn try_type(
        &self,
        name: ServerTypeName,
        text: String,
        host: Option<HostId>,
    ) -> Answer<'_, TypeTrial> {
        Box::pin(self.try_type(name, text, host))
    }
    fn save_type(
        &self,
        name: ServerTypeName,
        text: String,
        replaces: Option<String>,
    ) -> BoxFuture<'_, Result<TypeFile, Unsaved>> {
        Box::pin(self.save_type(name, text, replaces))
    }
    fn delete_type(&self, name: ServerTypeName, hash: Option<String>) -> Answer<'_, ()> {
        Box::pin(self.delete_type(name, hash))
    }
}

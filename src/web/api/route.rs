//! Routes of the API, each with what the OpenAPI document says about it: one list makes the router and the document, so
//! that neither can have a route that the other has not.

use axum::Router;
use axum::handler::Handler;
use axum::http::Method;
use axum::routing::{MethodFilter, MethodRouter, on};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::Value;

use crate::web::WebState;

/// What a route answers when it succeeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Success {
    /// 200 with a JSON object.
    Object,
    /// 201 with what was made.
    Made,
    /// 202 with the job that does it.
    Job,
    /// 204.
    Nothing,
    /// 200 with something that is not JSON, of this media type.
    Other(&'static str),
}

/// What the document says about a route.
#[derive(Debug, Clone)]
pub(super) struct About {
    summary: &'static str,
    success: Success,
    body: Option<Value>,
    answer: Option<Answered>,
    query: Vec<(&'static str, &'static str)>,
    open: bool,
}

/// Describes the type of an answer; what it is made of is kept by the generator.
pub(super) type Answered = fn(&mut SchemaGenerator) -> Schema;

/// In one sentence.
pub(super) fn about(summary: &'static str) -> About {
    About {
        summary,
        success: Success::Object,
        body: None,
        answer: None,
        query: Vec::new(),
        open: false,
    }
}

impl About {
    /// The request's body.
    pub(super) fn body<T: JsonSchema>(mut self) -> Self {
        let settings = SchemaSettings::draft2020_12().with(|s| {
            s.inline_subschemas = true;
            s.meta_schema = None;
        });
        self.body = Some(settings.into_generator().into_root_schema_for::<T>().to_value());
        self
    }

    /// The type that is serialised when it succeeds.
    pub(super) fn answer<T: JsonSchema>(mut self) -> Self {
        self.answer = Some(|schemas| schemas.subschema_for::<T>());
        self
    }

    /// It answers 202 with a job, and takes an idempotency key.
    pub(super) fn starts_work(mut self) -> Self {
        self.success = Success::Job;
        self
    }

    pub(super) fn answers(mut self, success: Success) -> Self {
        self.success = success;
        self
    }

    /// A parameter after the question mark, and what it means.
    pub(super) fn query(mut self, name: &'static str, meaning: &'static str) -> Self {
        self.query.push((name, meaning));
        self
    }

    /// The list comes in pages.
    pub(super) fn paged(self) -> Self {
        self.query("limit", "entries of this page: 1 to 1000")
            .query("after", "where the page begins: `next` of the page before")
    }

    /// Needs no log-in.
    pub(super) fn open(mut self) -> Self {
        self.open = true;
        self
    }
}

/// One operation of the document.
#[derive(Debug, Clone)]
pub(super) struct Described {
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) summary: &'static str,
    pub(super) success: Success,
    pub(super) body: Option<Value>,
    pub(super) answer: Option<Answered>,
    pub(super) query: Vec<(&'static str, &'static str)>,
    pub(super) open: bool,
}

/// The list as it grows.
#[derive(Default)]
pub(super) struct Routes {
    router: Router<WebState>,
    described: Vec<Described>,
}

impl Routes {
    fn add(
        mut self,
        method: Method,
        path: &'static str,
        to: MethodRouter<WebState>,
        it: About,
    ) -> Self {
        self.router = self.router.route(path, to);
        let About { summary, success, body, answer, query, open } = it;
        let it = Described { method, path, summary, success, body, answer, query, open };
        self.described.push(it);
        self
    }

    pub(super) fn get<T: 'static>(
        self,
        path: &'static str,
        handler: impl Handler<T, WebState>,
        about: About,
    ) -> Self {
        self.add(Method::GET, path, on(MethodFilter::GET, handler), about)
    }

    pub(super) fn post<T: 'static>(
        self,
        path: &'static str,
        handler: impl Handler<T, WebState>,
        about: About,
    ) -> Self {
        self.add(Method::POST, path, on(MethodFilter::POST, handler), about)
    }

    pub(super) fn put<T: 'static>(
        self,
        path: &'static str,
        handler: impl Handler<T, WebState>,
        about: About,
    ) -> Self {
        self.add(Method::PUT, path, on(MethodFilter::PUT, handler), about)
    }

    pub(super) fn patch<T: 'static>(
        self,
        path: &'static str,
        handler: impl Handler<T, WebState>,
        about: About,
    ) -> Self {
        self.add(Method::PATCH, path, on(MethodFilter::PATCH, handler), about)
    }

    pub(super) fn delete<T: 'static>(
        self,
        path: &'static str,
        handler: impl Handler<T, WebState>,
        about: About,
    ) -> Self {
        self.add(Method::DELETE, path, on(MethodFilter::DELETE, handler), about)
    }

    pub(super) fn router(self) -> Router<WebState> {
        self.router
    }

    pub(super) fn described(self) -> Vec<Described> {
        self.described
    }
}

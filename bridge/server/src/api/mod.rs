//! The methods that are built: one table, from which calls are dispatched and documents are made.

mod http;
mod params;
mod table;

pub(crate) use http::{
    Content, HTTP, HttpAnswer, HttpBody, HttpCall, HttpError, HttpErrorObject, LoginBody, MEDIA,
    RegisterBody, Status, Takes, WellKnownAnswer,
};
pub(crate) use params::THUMBNAIL;
pub(crate) use table::{Asked, METHODS, Method, Open, SESSION_OPEN, SHARED_ERRORS, find};

//! What users and other programs get to hear: lines and the bar on standard error
//! ([`output`], [`bar`]), figures in words ([`progress`]), events ([`json`]), and the copies that run ([`status`]).

mod bar;
pub(crate) mod json;
pub(crate) mod output;
pub(crate) mod progress;
pub(crate) mod status;

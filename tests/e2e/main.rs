//! The built layer, whole: real extension, real wrapper and agent, real runtime client.

mod endings;
mod fail_open;
mod faults;
mod freeze;
mod lifecycle;
mod main_job;
mod masks;
mod memory;
mod otlp;
mod outlets;
mod sampling;
mod sdk_documents;
mod several_functions;
mod side_by_side;
mod survival;
mod tmp_folder;
mod triggers;
mod xray_sdk;

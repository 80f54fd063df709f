//! A whole coordinator on a real port, spoken to as browsers and strangers would. What a volunteer
//! computes is made up here; that it computes well is tested where it does.

mod client;
mod control;
mod export;
mod http;
mod leaders;
mod pages;
mod restart;
mod results;
mod room;
mod site;
mod snapshots;
mod socket;
mod uploads;
mod versions;
mod whole_job;

//! One file a story: what customers experience, on a virtual clock.

mod booking_is_never_early;
mod busy_number_is_retried;
mod cancelled_request_is_not_called;
mod crash_loses_nobody;
mod order_received_is_order_called;
mod whole_day;

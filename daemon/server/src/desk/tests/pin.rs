//! Numbers that anybody may have typed in, when there are many of them.

use helpline_core::request::Channel;

use crate::desk::stage::{Stage, config, request};
use crate::desk::{Order, Origin, Placed};

#[tokio::test(start_paused = true)]
async fn beyond_so_many_typed_numbers_figures_are_asked_for() {
    let mut config = config();
    config.queue[0].unproven_per_hour = 2;
    let stage = Stage::new(config).await;
    let desk = &stage.desk;
    let pin = async |n: u32, channel: Channel, proven: bool| {
        let mut request = request(n);
        request.channel = channel;
        let origin = Origin {
            proven,
            ..Origin::default()
        };
        let accepted = desk.accept(request, origin).await.unwrap();
        desk.status(&accepted.token).await.unwrap().unwrap().pin
    };
    assert_eq!(pin(1, Channel::Form, false).await, None);
    // Who calls from the number himself, and who writes, is not counted.
    assert_eq!(pin(2, Channel::Phone, true).await, None);
    assert_eq!(pin(3, Channel::Smtp, false).await, None);
    assert_eq!(pin(4, Channel::Json, false).await, None);
    let asked = pin(5, Channel::Json, false).await.unwrap();
    assert_eq!(asked.len(), 4);
    assert_eq!(pin(6, Channel::Phone, true).await, None);
    // The call knows of it.
    for _ in 0..5 {
        let mut claimed = desk.take("help").await.unwrap().claimed;
        let Placed::Go(live) = desk.place(&claimed.remove(0)).await.unwrap() else {
            panic!("not placed");
        };
        let is_fifth = live.number.as_str().ends_with("0005");
        assert_eq!(live.pin.as_ref(), is_fifth.then_some(&asked));
        assert_eq!(live.proven, live.number.as_str().ends_with("0002"));
        desk.order(&live, Order::Stop).await.unwrap();
        desk.lost(&live).await.unwrap();
    }
}

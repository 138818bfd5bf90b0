//! A stand-in for the site that notes what it receives.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// Records the head of each request and answers with `answer`; two of them stand for the two processes.
pub struct Upstream {
    pub address: SocketAddr,
    pub heads: Arc<Mutex<Vec<String>>>,
}

impl Upstream {
    /// `answer` gets the head and the connection.
    pub async fn answering<F>(
        answer: impl Fn(String, TcpStream) -> F + Clone + Send + 'static,
    ) -> Upstream
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let noted = heads.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (noted, answer) = (noted.clone(), answer.clone());
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
                        match stream.read_u8().await {
                            Ok(byte) => head.push(byte),
                            Err(_) => return,
                        }
                    }
                    let head = String::from_utf8(head).unwrap();
                    noted.lock().unwrap().push(head.clone());
                    answer(head, stream).await;
                });
            }
        });
        Upstream { address, heads }
    }

    /// Says yes to everything.
    pub async fn content() -> Upstream {
        Upstream::answering(async |_, mut stream: TcpStream| {
            let answer = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nyes";
            let _ = stream.write_all(answer.as_bytes()).await;
        })
        .await
    }
}

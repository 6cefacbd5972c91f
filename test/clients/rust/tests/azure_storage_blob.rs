//! azure_storage_blob, Microsoft's own for Rust. It knows tokens and signatures only: a signature of the account is in the URL.

use azure_core::http::{RequestContent, StatusCode, Url};
use azure_storage_blob::models::*;
use azure_storage_blob::{BlobContainerClient, BlobServiceClient};
use clients::told;
use futures::TryStreamExt;

fn service() -> BlobServiceClient {
    let url = Url::parse(&format!("{}?{}", told("BLOBD_BLOB"), told("BLOBD_SAS"))).unwrap();
    BlobServiceClient::new(url, None, None).unwrap()
}

async fn container(name: &str) -> BlobContainerClient {
    let c = service().blob_container_client(&format!("{}-{name}", told("BLOBD_CONTAINER")));
    c.create(None).await.unwrap();
    c
}

fn status<T>(r: Result<T, azure_core::Error>) -> StatusCode {
    r.err().expect("an error").http_status().expect("an answer")
}

#[tokio::test]
async fn blobs() {
    let c = container("blobs").await;
    let b = c.blob_client("a/ä b");
    assert!(!b.exists().await.unwrap());
    assert_eq!(status(b.download(None).await), StatusCode::NotFound);
    let data: Vec<u8> = (0..9u32 << 20).map(|i| (i >> 7) as u8).collect();
    b.upload(RequestContent::from(data.clone()), None).await.unwrap();
    assert_eq!(b.download(None).await.unwrap().body.collect().await.unwrap(), data);
    assert_eq!(status(c.create(None).await), StatusCode::Conflict);

    let blocks = c.blob_client("blocks").block_blob_client();
    for id in [b"1", b"2", b"3"] {
        blocks.stage_block(id, 3, RequestContent::from(id.repeat(3)), None).await.unwrap();
    }
    let list = BlockLookupList { latest: Some(vec![b"3".to_vec(), b"1".to_vec()]), committed: Some(vec![]), uncommitted: Some(vec![]) };
    blocks.commit_block_list(list.try_into().unwrap(), None).await.unwrap();
    assert_eq!(c.blob_client("blocks").download(None).await.unwrap().body.collect().await.unwrap(), &b"333111"[..]);

    let names: Vec<String> = c.list_blobs(None).unwrap().map_ok(|b| b.name.unwrap()).try_collect().await.unwrap();
    assert_eq!(names, ["a/ä b", "blocks"]);
    b.delete(None).await.unwrap();
    assert_eq!(status(b.get_properties(None).await), StatusCode::NotFound);
    c.delete(None).await.unwrap();
}

#[tokio::test]
async fn append_and_pages() {
    let c = container("pages").await;
    let log = c.blob_client("log").append_blob_client();
    log.create(None).await.unwrap();
    for part in ["one,", "two"] {
        log.append_block(RequestContent::from(part.as_bytes().to_vec()), part.len() as u64, None).await.unwrap();
    }
    assert_eq!(c.blob_client("log").download(None).await.unwrap().body.collect().await.unwrap(), "one,two");
    log.seal(None).await.unwrap();
    assert_eq!(status(log.append_block(RequestContent::from(b"x".to_vec()), 1, None).await), StatusCode::Conflict);

    let disk = c.blob_client("disk").page_blob_client();
    disk.create(1 << 20, None).await.unwrap();
    disk.resize(2 << 20, None).await.unwrap();
    c.delete(None).await.unwrap();
}

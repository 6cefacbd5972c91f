package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.uber.org/zap"
)

// Certificate is a certificate in files, read again when they change: a renewal needs no restart. A pair that cannot be used
// is logged and the old one kept.
type Certificate struct {
	certFile, keyFile string
	log               *zap.Logger

	mu      sync.Mutex
	current *tls.Certificate
	stamp   [2]fileStamp  // of whoever looks; there is one at a time
	checked time.Time     // when the last look began
	looking chan struct{} // closed when it ends; nil between looks
}

type fileStamp struct {
	modified time.Time
	size     int64
}

// LoadCertificate reads a PEM certificate chain and its key.
func LoadCertificate(certFile, keyFile string, log *zap.Logger) (*Certificate, error) {
	c := &Certificate{certFile: certFile, keyFile: keyFile, log: log}
	stamp, err := c.look()
	if err != nil {
		return nil, fmt.Errorf("TLS certificate: %w", err)
	}
	pair, err := tls.LoadX509KeyPair(certFile, keyFile) // also from pipes, as a shell's <(command) gives them
	if err != nil {
		return nil, fmt.Errorf("TLS certificate %s with key %s: %w", certFile, keyFile, err)
	}
	c.current, c.stamp = &pair, stamp
	return c, nil
}

// SelfSignedInMemory makes a certificate for names that is signed by itself, for as long as the process runs.
func SelfSignedInMemory(names []string, now time.Time) (*Certificate, error) {
	cert, key, err := selfSign(names, now)
	if err != nil {
		return nil, fmt.Errorf("make a self-signed certificate: %w", err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	return &Certificate{current: &pair}, err
}

const (
	lookEvery = time.Second            // how often the files are looked at, while connections are made
	lookWait  = 500 * time.Millisecond // how long they wait for it: the disk may not answer
)

// Get returns the certificate for a connection.
func (c *Certificate) Get() (*tls.Certificate, error) {
	if c.certFile == "" {
		return c.current, nil
	}
	c.mu.Lock()
	if now := time.Now(); c.looking == nil && now.Sub(c.checked) >= lookEvery {
		c.checked, c.looking = now, make(chan struct{})
		go c.reload()
	}
	looking, began := c.looking, c.checked
	c.mu.Unlock()
	if looking != nil {
		late := time.NewTimer(time.Until(began.Add(lookWait)))
		defer late.Stop()
		select {
		case <-looking:
		case <-late.C:
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.current, nil
}

// reload takes up changed files.
func (c *Certificate) reload() {
	pair := c.changed()
	c.mu.Lock()
	defer c.mu.Unlock()
	if pair != nil {
		c.current = pair
	}
	close(c.looking)
	c.looking = nil
}

// changed reads files that have changed; nil if they have not, or cannot be used. The stamp is kept also then, so that the log has it once.
func (c *Certificate) changed() *tls.Certificate {
	stamp, err := c.look()
	if err != nil || stamp == c.stamp {
		return nil // files being replaced may be away for a moment
	}
	c.stamp = stamp
	pair, err := loadPair(c.certFile, c.keyFile)
	if err != nil {
		c.log.Error("the changed TLS certificate cannot be used; the old one stays", zap.String("file", c.certFile), zap.Error(err))
		return nil
	}
	c.log.Info("the TLS certificate was renewed", zap.String("file", c.certFile))
	return &pair
}

func (c *Certificate) look() (stamps [2]fileStamp, err error) {
	for i, name := range []string{c.certFile, c.keyFile} {
		info, err := os.Stat(name)
		if err != nil {
			return stamps, err
		}
		stamps[i] = fileStamp{info.ModTime(), info.Size()}
	}
	return stamps, nil
}

// SelfSigned makes sure that dir holds a certificate for names (host names, wildcards, IP addresses) that is signed by itself,
// and returns its files. One that is there is kept until a month before its end.
func SelfSigned(dir string, names []string, now time.Time) (certFile, keyFile string, err error) {
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	if usable(certFile, keyFile, names, now) {
		return certFile, keyFile, nil
	}
	cert, key, err := selfSign(names, now)
	if err != nil {
		return "", "", fmt.Errorf("make a self-signed certificate: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", "", err
	}
	if err := ReplaceFile(keyFile, key, 0o600); err != nil {
		return "", "", err
	}
	return certFile, keyFile, ReplaceFile(certFile, cert, 0o644)
}

// loadPair reads a certificate and its key from regular files.
func loadPair(certFile, keyFile string) (pair tls.Certificate, err error) {
	cert, err := ReadRegular(certFile)
	if err != nil {
		return pair, err
	}
	key, err := ReadRegular(keyFile)
	if err != nil {
		return pair, err
	}
	return tls.X509KeyPair(cert, key)
}

func usable(certFile, keyFile string, names []string, now time.Time) bool {
	pair, err := loadPair(certFile, keyFile)
	if err != nil || now.After(pair.Leaf.NotAfter.AddDate(0, -1, 0)) {
		return false
	}
	for _, name := range names {
		if len(name) > 2 && name[:2] == "*." {
			name = "any" + name[1:]
		}
		if pair.Leaf.VerifyHostname(name) != nil {
			return false
		}
	}
	return true
}

func selfSign(names []string, now time.Time) (cert, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "blobd self-signed"},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.AddDate(2, 0, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IsCA:         true, BasicConstraintsValid: true, // so that it can be trusted as it is
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		return nil, nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), nil
}

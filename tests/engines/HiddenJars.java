import java.io.File;
import java.net.MalformedURLException;
import java.net.URL;
import java.net.URLClassLoader;

/**
 * A system class loader that does not say which jars it has (the folder in the property "jars"): Beam's Flink job server uploads every jar it sees
 * with every job (12 s on two cores), and the test cluster has them already.
 */
public class HiddenJars extends URLClassLoader {
  public HiddenJars(ClassLoader parent) throws MalformedURLException {
    super(new URL[0], parent);
    for (File jar : new File(System.getProperty("jars")).listFiles()) {
      addURL(jar.toURI().toURL());
    }
  }

  @Override
  public URL[] getURLs() {
    return new URL[0];
  }
}
